"""Jobs about tenants."""

from datetime import timedelta
from uuid import UUID

from app.core.db import MainSession
from app.core.tasks import periodic, task
from app.domains.tenants.service import deletion, invitations, pool, registrations, sandboxes
from app.integrations.mailer import current_mailer
from app.integrations.storage import current_storage
from app.settings import current_settings
from app.tenancy.manager import current_manager


@task(name="tenants.send_invitation", queue="mail", plane="main")
def send_invitation(session: MainSession, invitation_id: str) -> None:
    """Sends an invitation's link, with a new token."""
    invitations.send_mail(
        session, current_mailer(), current_settings(), invitation_id=UUID(invitation_id)
    )


@task(name="tenants.send_registration", queue="mail", plane="main")
def send_registration(session: MainSession, registration_id: str) -> None:
    """Sends the link that confirms a registration, or word that there is an account."""
    registrations.send_mail(
        session, current_mailer(), current_settings(), registration_id=UUID(registration_id)
    )


@periodic(name="tenants.forget_registrations", every=timedelta(hours=1), queue="default")
def forget_registrations(session: MainSession) -> None:
    """Deletes registrations that nobody confirmed in time."""
    registrations.forget_expired(session)


@task(name="tenants.finish", queue="default", plane=None)
def finish_tenant(tenant: str) -> None:
    """Does what a tenant's state asks for: what a dead process left, or what is due by now."""
    deletion.finish(current_manager(), current_storage(), tenant_id=UUID(tenant))


@periodic(name="tenants.refill_pool", every=timedelta(minutes=10), queue="default", plane=None)
def refill_pool() -> None:
    """Makes the databases that wait for tenants as many, and as new, as they ought to be."""
    pool.refill(current_manager(), size=current_settings().tenant_pool_size)


@periodic(name="tenants.purge_sandboxes", every=timedelta(hours=1), queue="fleet", plane=None)
def purge_sandboxes() -> None:
    """Drops the sandboxes whose time is over."""
    sandboxes.purge_overdue(current_manager(), current_storage())
