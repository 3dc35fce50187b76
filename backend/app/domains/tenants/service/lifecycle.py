"""A tenant's life while it lasts: registered, provisioned, suspended, resumed. See `deletion` too.

Making a database takes several short transactions with work on the server between them. Each step
can be repeated, so that whoever finds a tenant half made (the request that waits for it, a job, a
retry, the reconciler) runs the row of steps again.
"""

import logging
from uuid import UUID

import psycopg
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from app.core import clock, events, ids
from app.core.db import MainSession, main_session
from app.core.errors import AppError
from app.domains.identity.service import users
from app.domains.tenants import queries
from app.domains.tenants.errors import (
    ProvisioningFailed,
    SlugTaken,
    TenantLimitReached,
    WrongState,
)
from app.domains.tenants.events import TenantCreated, TenantResumed, TenantSuspended
from app.domains.tenants.models import (
    Role,
    Tenant,
    TenantDatabase,
    TenantState,
    UserTenantAssociation,
)
from app.domains.tenants.queries import Membership
from app.domains.tenants.service import directory, pool, transitions
from app.tenancy.locations import TenantLocation
from app.tenancy.manager import TenantDatabaseManager

logger = logging.getLogger(__name__)


def create_tenant(
    manager: TenantDatabaseManager,
    *,
    name: str,
    slug: str,
    owner_id: UUID,
    limit: int | None = None,
) -> Membership:
    """A new tenant with its database; the owner is its first member.

    Raises:
        EmailUnverified, SlugTaken, TenantLimitReached: as `register`.
        ProvisioningFailed: the tenant is registered as failed and can be retried.
    """
    tenant_id = register(manager, name=name, slug=slug, owner_id=owner_id, limit=limit)
    provision(manager, tenant_id=tenant_id)
    return directory.membership_now(user_id=owner_id, tenant_id=tenant_id)


def register(
    manager: TenantDatabaseManager,
    *,
    name: str,
    slug: str,
    owner_id: UUID,
    limit: int | None = None,
    tenant_id: UUID | None = None,
) -> UUID:
    """Writes the tenant, its owner and its ledger row, before anything exists on a server.

    From its commit on the tenant is made to the end, by whom it may be. A ``tenant_id`` that is
    registered already stays as it is: whoever chose it repeats what it began.

    Raises:
        EmailUnverified: nobody knows yet whether the owner's address is his or hers.
        SlugTaken: another tenant has the slug.
        TenantLimitReached: there are ``limit`` tenants.
    """
    if tenant_id is not None and _is_registered(tenant_id):
        return tenant_id
    tenant_id = tenant_id or ids.new_id()
    location = manager.new_location(tenant_id, slug)
    try:
        with main_session(user_id=owner_id, tenant_id=tenant_id) as session:
            users.require_verified(session, owner_id)
            require_room(session, limit)
            session.add(Tenant(id=tenant_id, slug=slug, name=name))
            session.flush()  # the others refer to it
            session.add(
                UserTenantAssociation(user_id=owner_id, tenant_id=tenant_id, role=Role.OWNER)
            )
            session.add(_ledger_row(pool.claim(session, manager, location)))
            created = TenantCreated(tenant_id=tenant_id, slug=slug, name=name, owner_id=owner_id)
            events.record(session, created)
            transitions.promise(session, tenant_id)
    except IntegrityError as error:
        if _is_registered(tenant_id):  # by another attempt, at this moment
            return tenant_id
        if "uq_tenants_slug" not in str(error.orig):
            raise
        raise SlugTaken(f"There is a tenant with the slug {slug!r}; choose another.") from error
    return tenant_id


def _is_registered(tenant_id: UUID) -> bool:
    with main_session(tenant_id=tenant_id) as session:
        return queries.tenant(session, tenant_id) is not None


def require_room(session: MainSession, limit: int | None) -> None:
    """That one more tenant is within the limit, until the transaction ends.

    Raises:
        TenantLimitReached: it is not.
    """
    if limit is not None and queries.count_tenants_for_change(session) >= limit:
        raise TenantLimitReached(f"This installation has room for {limit} tenants.")


def provision(manager: TenantDatabaseManager, *, tenant_id: UUID) -> None:
    """Makes the tenant's database, whatever part of it exists, and activates the tenant.

    Raises:
        NotFound: there is no such tenant.
        WrongState: the tenant is not one that waits for its database.
        ProvisioningFailed: it did not work; the reason is kept with the tenant.
    """
    with transitions.begun(
        tenant_id, TenantState.CREATING, allowed=transitions.UNFINISHED
    ) as transition:
        pass
    try:
        revision = manager.provision(transition.location)
    except (AppError, psycopg.Error, SQLAlchemyError, LookupError, RuntimeError) as error:
        logger.exception("provisioning failed", extra={"tenant": str(tenant_id)})
        _fail(tenant_id, error)
        raise ProvisioningFailed("The tenant's database could not be made; try again.") from error
    if not _activate(tenant_id, revision):
        transitions.settle(manager, transition.location)
        raise WrongState("The tenant's state changed while its database was made.")


def retry(manager: TenantDatabaseManager, *, tenant_id: UUID) -> None:
    """Provisions a tenant whose provisioning failed or broke off, or has a job do it.

    Raises:
        NotFound, WrongState, ProvisioningFailed: as `provision`.
    """
    with transitions.begun(
        tenant_id, TenantState.CREATING, allowed=transitions.UNFINISHED
    ) as transition:
        transitions.promise(transition.session, tenant_id)
    provision(manager, tenant_id=tenant_id)


def suspend(manager: TenantDatabaseManager, *, tenant_id: UUID, reason: str | None = None) -> None:
    """Refuses the tenant's requests, then shuts its role out and ends its sessions everywhere.

    ``reason`` is told to its owners.
    """
    with transitions.begun(
        tenant_id,
        TenantState.SUSPENDED,
        allowed=(TenantState.ACTIVE, TenantState.SUSPENDED),
    ) as transition:
        tenant = transition.tenant
        tenant.suspended_at = tenant.suspended_at or clock.now()
        tenant.suspension_reason = reason
        events.record(transition.session, TenantSuspended(tenant_id=tenant_id, reason=reason))
        transitions.promise(transition.session, tenant_id)
    transitions.settle(manager, transition.location)


def resume(manager: TenantDatabaseManager, *, tenant_id: UUID) -> None:
    """Undoes `suspend`; until the role is let in, requests are told to come again."""
    with transitions.begun(
        tenant_id, TenantState.ACTIVE, allowed=(TenantState.SUSPENDED,)
    ) as transition:
        transition.tenant.suspended_at = transition.tenant.suspension_reason = None
        events.record(transition.session, TenantResumed(tenant_id=tenant_id))
        transitions.promise(transition.session, tenant_id)
    transitions.settle(manager, transition.location)


def _ledger_row(location: TenantLocation) -> TenantDatabase:
    return TenantDatabase(
        tenant_id=location.tenant_id,
        server=location.server,
        database=location.database,
        sealed_credentials=location.sealed_credentials,
        spare_id=location.spare_id,
    )


def _activate(tenant_id: UUID, revision: str) -> bool:
    """Whether the tenant is active now: by us, or by another process that was faster."""
    with main_session(tenant_id=tenant_id) as session:
        row = queries.database(session, tenant_id)
        tenant = queries.tenant_for_change(session, tenant_id)
        if row is None or tenant is None:
            return False
        if tenant.state == TenantState.CREATING:
            row.schema_revision, row.spare_id = revision, None
            tenant.state, tenant.failure = TenantState.ACTIVE, None
        return tenant.state == TenantState.ACTIVE


def _fail(tenant_id: UUID, error: Exception) -> None:
    with main_session(tenant_id=tenant_id) as session:
        tenant = queries.tenant_for_change(session, tenant_id)
        if tenant is not None and tenant.state == TenantState.CREATING:
            tenant.state = TenantState.FAILED
            # The owner reads this: what a server said stays in the log.
            tenant.failure = error.detail if isinstance(error, AppError) else "unexpected error"
