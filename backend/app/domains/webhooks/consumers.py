"""What webhooks do about events."""

from app.core.cloudevents import CloudEvent
from app.core.consumers import EVERY, consumer
from app.domains.webhooks.service import deliveries
from app.settings import current_settings
from app.tenancy.sessions import TenantSession


@consumer(name="webhooks.queue", types=EVERY)
def queue(session: TenantSession, event: CloudEvent) -> None:
    deliveries.queue(session, event, kept_days=current_settings().webhook_retention_days)
