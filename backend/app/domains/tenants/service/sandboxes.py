"""Sandboxes: tenants that are copies of others, to try things on, for a time.

Each is a tenant like any other, with its own database, members and name. What it is a copy of, and
when it is purged, stands in a row beside it. Who fills it with the copy is above this domain.
"""

import logging
from datetime import timedelta
from uuid import UUID

from sqlalchemy import or_, select

from app.core import clock, events
from app.core.db import MainSession, main_session, platform_session
from app.core.errors import AppError
from app.core.pages import Cursors, Page, page_of
from app.domains.jobs import service as jobs
from app.domains.tenants.errors import SandboxNotFound, SandboxOfSandbox
from app.domains.tenants.events import SandboxOrdered
from app.domains.tenants.models import Sandbox, SandboxState, Tenant, TenantState
from app.domains.tenants.service import deletion, lifecycle
from app.integrations.storage import Storage
from app.tenancy.manager import TenantDatabaseManager

logger = logging.getLogger(__name__)

# Filled by the domain that copies tenants.
_FILL = "backups.fill_sandbox"


def order(
    manager: TenantDatabaseManager,
    *,
    source_id: UUID,
    owner_id: UUID,
    name: str,
    slug: str,
    days: int,
    limit: int | None,
    tenant_id: UUID,
) -> Sandbox:
    """Registers a tenant that a job will make and fill; repeated with its id, it is what it was.

    Raises:
        SandboxOfSandbox: the source is a copy itself.
        EmailUnverified, SlugTaken, TenantLimitReached, NoServerFree: as `lifecycle.register`.
    """
    with main_session(tenant_id=source_id) as session:
        if is_sandbox(session, source_id):
            raise SandboxOfSandbox("This tenant is a copy itself; copy its original.")
    lifecycle.register(
        manager, name=name, slug=slug, owner_id=owner_id, limit=limit, tenant_id=tenant_id
    )
    with main_session(user_id=owner_id, tenant_id=source_id) as session:
        sandbox = session.get(Sandbox, tenant_id)
        if sandbox is None:
            sandbox = Sandbox(
                tenant_id=tenant_id,
                source_id=source_id,
                expires_at=clock.now() + timedelta(days=days),
            )
            session.add(sandbox)
            jobs.schedule(session, _FILL, tenant_id=source_id, sandbox=str(tenant_id))
            events.record(session, SandboxOrdered(sandbox_id=tenant_id, tenant_id=source_id))
            session.flush()
            session.refresh(sandbox)  # ``active`` is the database's to say
        return sandbox


def page(
    session: MainSession, *, source_id: UUID, cursors: Cursors, cursor: str | None, limit: int
) -> Page[Sandbox]:
    """The tenant's sandboxes, oldest first."""
    after = None if cursor is None else cursors.load(cursor)
    statement = select(Sandbox).where(Sandbox.source_id == source_id)
    if after is not None:
        statement = statement.where(Sandbox.tenant_id > after)
    rows = session.scalars(statement.order_by(Sandbox.tenant_id).limit(limit + 1)).all()
    return page_of(rows, limit=limit, cursors=cursors, id_of=lambda row: row.tenant_id)


def get(session: MainSession, *, source_id: UUID, tenant_id: UUID) -> Sandbox:
    """Raises: SandboxNotFound: the tenant has no such sandbox."""
    found = session.get(Sandbox, tenant_id)
    if found is None or found.source_id != source_id:
        raise SandboxNotFound("This tenant has no such sandbox.")
    return found


def is_sandbox(session: MainSession, tenant_id: UUID) -> bool:
    """Whether the tenant is a copy, in whose name nothing goes out: no mail, no webhook."""
    return session.get(Sandbox, tenant_id) is not None


def pending(tenant_id: UUID) -> Sandbox | None:
    """The sandbox if it is still to be filled."""
    with platform_session() as session:
        found = session.get(Sandbox, tenant_id)
    return found if found is not None and found.state == SandboxState.PENDING else None


def settle(tenant_id: UUID, *, failure: str | None = None) -> None:
    """It is filled, or will not be."""
    with platform_session() as session:
        found = session.get(Sandbox, tenant_id)
        if found is not None:
            found.state = SandboxState.READY if failure is None else SandboxState.FAILED
            found.failure = failure


def purge_overdue(manager: TenantDatabaseManager, storage: Storage) -> int:
    """Purges those whose time is over, or whose original is gone for good; how many.

    One that cannot be purged stops no other.
    """
    over = or_(Sandbox.expires_at <= clock.now(), Tenant.state == TenantState.PURGED)
    statement = select(Sandbox.tenant_id).join(Tenant, Tenant.id == Sandbox.source_id).where(over)
    with platform_session() as session:
        overdue = session.scalars(statement).all()
    purged = 0
    for tenant_id in overdue:
        try:
            deletion.purge(manager, storage, tenant_id=tenant_id)
        except AppError:
            logger.exception("a sandbox could not be purged", extra={"tenant": str(tenant_id)})
            continue
        purged += 1
    return purged
