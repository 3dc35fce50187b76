"""Jobs about webhooks."""

from functools import partial
from uuid import UUID

from flask import current_app

from app.core.tallies import current_tallies
from app.core.tasks import task
from app.domains.webhooks.service import deliveries
from app.domains.webhooks.service.sending import Sender
from app.integrations.customer_http import current_customer_http
from app.settings import current_settings
from app.tenancy.sessions import TenantSession


@task(name="webhooks.deliver", queue="webhooks", plane=None)
def deliver(tenant: str, delivery: str) -> None:
    """One attempt at one delivery."""
    sender = Sender(
        current_customer_http(),
        current_app.extensions["secrets"],
        current_tallies(),
        current_settings(),
    )
    open_session = partial(current_app.extensions["open_tenant"], UUID(tenant))
    sender.deliver(open_session, tenant_id=UUID(tenant), delivery_id=UUID(delivery))


@task(name="webhooks.sweep", queue="webhooks")
def sweep(session: TenantSession) -> None:
    """Finds one tenant's deliveries whose jobs were lost."""
    deliveries.sweep(session)


@task(name="webhooks.purge", queue="webhooks")
def purge(session: TenantSession) -> None:
    """Deletes what one tenant sent WEBHOOK_RETENTION_DAYS ago."""
    deliveries.purge(session, days=current_settings().webhook_retention_days)
