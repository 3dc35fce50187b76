"""The end of a tenant's life: deleted, restored within the period of grace, purged after it."""

from contextlib import suppress
from datetime import timedelta
from uuid import UUID

from app.core import clock, events
from app.core.db import main_session
from app.domains.tenants import queries
from app.domains.tenants.errors import NotConfirmed, WrongState
from app.domains.tenants.events import TenantDeleted, TenantPurged, TenantRestored
from app.domains.tenants.models import Tenant, TenantState
from app.domains.tenants.service import kept, lifecycle, read_only, transitions
from app.domains.tenants.service.transitions import UNFINISHED, Transition
from app.integrations.storage import Storage
from app.tenancy.manager import TenantDatabaseManager

_LIVING = (*UNFINISHED, TenantState.ACTIVE, TenantState.SUSPENDED)


def delete(
    manager: TenantDatabaseManager, *, tenant_id: UUID, confirm: str, grace: timedelta
) -> None:
    """Shuts the tenant as `suspend` does, and has it purged when the grace is over.

    Done again it changes nothing: the first deletion's grace counts.

    Raises:
        NotFound, WrongState: there is no such tenant, or its purge has begun.
        NotConfirmed: ``confirm`` is not the tenant's slug.
    """
    with transitions.begun(
        tenant_id, TenantState.DELETED, allowed=(*_LIVING, TenantState.DELETED)
    ) as transition:
        if confirm != transition.tenant.slug:
            message = "Give the tenant's slug, to show that you mean this one."
            raise NotConfirmed(message, errors={"confirm": [message]})
        if transition.former != TenantState.DELETED:
            purge_at = transition.tenant.purge_at = clock.now() + grace
            deleted = TenantDeleted(tenant_id=tenant_id, purge_at=purge_at)
            events.record(transition.session, deleted)
            transitions.promise(transition.session, tenant_id)
            transitions.promise(transition.session, tenant_id, due_at=purge_at)
    transitions.settle(manager, transition.location)


def restore(manager: TenantDatabaseManager, *, tenant_id: UUID, limit: int | None = None) -> None:
    """Undoes `delete` as long as the purge has not begun; who was suspended is so again.

    Raises:
        NotFound, WrongState: there is no such tenant, or it is not deleted.
        TenantLimitReached: there are ``limit`` tenants without it.
        ProvisioningFailed: it had no database when it was deleted, and gets none now.
    """
    with transitions.begun(
        tenant_id, TenantState.ACTIVE, allowed=(TenantState.DELETED,)
    ) as transition:
        lifecycle.require_room(transition.session, limit)
        state = transition.tenant.state = _restored(transition)
        transition.tenant.purge_at = None
        events.record(transition.session, TenantRestored(tenant_id=tenant_id, state=state))
        transitions.promise(transition.session, tenant_id)
    if state == TenantState.REQUESTED:
        lifecycle.provision(manager, tenant_id=tenant_id)
    else:
        transitions.settle(manager, transition.location)


def purge(
    manager: TenantDatabaseManager,
    storage: Storage,
    *,
    tenant_id: UUID,
    overdue_only: bool = False,
) -> None:
    """Drops the tenant's database and role and erases its files, for good. Any state leads here.

    Raises:
        NotFound: there is no such tenant.
        WrongState: its grace is not over, and ``overdue_only`` was asked for.
        ServerUnavailable, TenantUnavailable, StorageUnavailable: the tenant stays ``purging``.
    """
    with transitions.begun(
        tenant_id,
        TenantState.PURGING,
        allowed=(*_LIVING, TenantState.DELETED, TenantState.PURGING),
    ) as transition:
        begun = transition.former == TenantState.PURGING
        if overdue_only and not (begun or is_overdue(transition.tenant)):
            raise WrongState("This tenant's period of grace is not over.")
    transitions.settle(manager, transition.location)
    kept.drop_all(manager, storage, tenant_id=tenant_id)
    # After the database: whoever could still have stored a file is shut out.
    storage.delete_all(f"tenants/{transition.location.database}")
    with main_session(tenant_id=tenant_id) as session:
        tenant = queries.tenant_for_change(session, tenant_id)
        if tenant is not None and tenant.state == TenantState.PURGING:
            queries.forget(session, tenant_id)
            tenant.state = TenantState.PURGED
            events.record(session, TenantPurged(tenant_id=tenant_id, slug=tenant.slug))


def finish(manager: TenantDatabaseManager, storage: Storage, *, tenant_id: UUID) -> None:
    """Does what the tenant's state asks for, and what a process that died left undone.

    Raises:
        ProvisioningFailed, ServerUnavailable, TenantUnavailable, StorageUnavailable: try later.
    """
    with main_session(tenant_id=tenant_id) as session:
        tenant = queries.tenant(session, tenant_id)
        location = queries.location(session, tenant_id)
    if tenant is None or location is None:
        return
    with suppress(WrongState):  # somebody else was faster, and has promised what follows from it
        if tenant.state in UNFINISHED:
            lifecycle.provision(manager, tenant_id=tenant_id)
        elif tenant.state == TenantState.PURGING or is_overdue(tenant):
            purge(manager, storage, tenant_id=tenant_id, overdue_only=True)
        else:
            read_only.end_overdue_hold(tenant_id=tenant_id)
            kept.shut_out_all(manager, tenant_id=tenant_id)
            transitions.settle(manager, location)


def is_overdue(tenant: Tenant) -> bool:
    """Whether it was deleted and its grace is over."""
    return tenant.purge_at is not None and tenant.purge_at <= clock.now()


def _restored(transition: Transition) -> TenantState:
    row = queries.database(transition.session, transition.location.tenant_id)
    if row is None or row.schema_revision is None:
        return TenantState.REQUESTED
    return TenantState.ACTIVE if transition.tenant.suspended_at is None else TenantState.SUSPENDED
