"""A tenant's life: requested → creating → active; failed; suspended; deleting → deleted.

Making a database takes several short transactions with work on the server between them. Each step
can be repeated, so that whoever finds a tenant half made (a retry, the reconciler) runs the row
of steps again.
"""

import logging
from uuid import UUID

import psycopg
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from app.core import clock, ids
from app.core.db import main_session
from app.core.errors import AppError, NotFound
from app.domains.tenants import queries
from app.domains.tenants.errors import ProvisioningFailed, SlugTaken, WrongState
from app.domains.tenants.models import (
    Tenant,
    TenantDatabase,
    TenantState,
    UserTenantAssociation,
)
from app.domains.tenants.queries import Membership
from app.domains.tenants.service import directory
from app.tenancy.locations import TenantLocation
from app.tenancy.manager import TenantDatabaseManager

logger = logging.getLogger(__name__)

_UNFINISHED = (TenantState.REQUESTED, TenantState.CREATING, TenantState.FAILED)


def create_tenant(
    manager: TenantDatabaseManager, *, name: str, slug: str, owner_id: UUID
) -> Membership:
    """A new tenant with its database; the owner is its first member.

    Raises:
        SlugTaken: another tenant has the slug.
        ProvisioningFailed: the tenant is registered as failed and can be retried.
    """
    tenant_id = register(manager, name=name, slug=slug, owner_id=owner_id)
    provision(manager, tenant_id=tenant_id)
    return directory.membership_now(user_id=owner_id, tenant_id=tenant_id)


def register(manager: TenantDatabaseManager, *, name: str, slug: str, owner_id: UUID) -> UUID:
    """Writes the tenant, its owner and its ledger row, before anything exists on a server."""
    tenant_id = ids.new_id()
    location = manager.new_location(tenant_id, slug)
    try:
        with main_session(user_id=owner_id, tenant_id=tenant_id) as session:
            session.add(Tenant(id=tenant_id, slug=slug, name=name))
            session.flush()  # the others refer to it
            session.add(UserTenantAssociation(user_id=owner_id, tenant_id=tenant_id, role="owner"))
            session.add(
                TenantDatabase(
                    tenant_id=tenant_id,
                    server=location.server,
                    database=location.database,
                    sealed_credentials=location.sealed_credentials,
                )
            )
    except IntegrityError as error:
        if "uq_tenants_slug" not in str(error.orig):
            raise
        raise SlugTaken(f"There is a tenant with the slug {slug!r}; choose another.") from error
    return tenant_id


def provision(manager: TenantDatabaseManager, *, tenant_id: UUID) -> None:
    """Makes the tenant's database, whatever part of it exists, and activates the tenant.

    Raises:
        NotFound: there is no such tenant.
        WrongState: the tenant is not one that waits for its database.
        ProvisioningFailed: it did not work; the reason is kept with the tenant.
    """
    location = _enter(tenant_id, TenantState.CREATING, allowed=_UNFINISHED)
    try:
        revision = manager.provision(location)
    except (AppError, psycopg.Error, SQLAlchemyError, LookupError, RuntimeError) as error:
        logger.exception("provisioning failed", extra={"tenant": str(tenant_id)})
        _fail(tenant_id, error)
        raise ProvisioningFailed("The tenant's database could not be made; try again.") from error
    with main_session(tenant_id=tenant_id) as session:
        row = queries.database(session, tenant_id)
        tenant = queries.tenant_for_change(session, tenant_id)
        if tenant is not None and tenant.state == TenantState.ACTIVE:
            return  # another process, provisioning the same tenant, was faster
        if row is None or tenant is None or tenant.state != TenantState.CREATING:
            raise WrongState("The tenant's state changed while its database was made.")
        row.schema_revision = revision
        tenant.state, tenant.failure = TenantState.ACTIVE, None


def suspend(manager: TenantDatabaseManager, *, tenant_id: UUID) -> None:
    """Refuses the tenant's requests, then shuts its role out and ends its sessions everywhere."""
    location = _enter(
        tenant_id, TenantState.SUSPENDED, allowed=(TenantState.ACTIVE, TenantState.SUSPENDED)
    )
    manager.suspend_tenant_database(location)


def resume(manager: TenantDatabaseManager, *, tenant_id: UUID) -> None:
    """Undoes `suspend`: the role is let in first, so that no request finds it shut."""
    location = _enter(tenant_id, TenantState.SUSPENDED, allowed=(TenantState.SUSPENDED,))
    manager.resume_tenant_database(location)
    _enter(tenant_id, TenantState.ACTIVE, allowed=(TenantState.SUSPENDED,))


def delete(manager: TenantDatabaseManager, *, tenant_id: UUID) -> None:
    """Drops the tenant's database and role for good; the ledger row goes last."""
    location = _enter(tenant_id, TenantState.DELETING, allowed=tuple(TenantState))
    manager.drop_tenant_database(location)
    with main_session(tenant_id=tenant_id) as session:
        if (row := queries.database(session, tenant_id)) is not None:
            session.delete(row)
        if (tenant := queries.tenant_for_change(session, tenant_id)) is not None:
            tenant.state = TenantState.DELETED


def _enter(
    tenant_id: UUID, state: TenantState, *, allowed: tuple[TenantState, ...]
) -> TenantLocation:
    """Moves the tenant to the state, in a transaction of its own; returns where its data lies."""
    with main_session(tenant_id=tenant_id) as session:
        tenant = queries.tenant_for_change(session, tenant_id)
        location = queries.location(session, tenant_id)
        if tenant is None or location is None:
            raise NotFound("There is no such tenant.")
        if tenant.state not in allowed:
            raise WrongState(f"A tenant that is {tenant.state} cannot become {state}.")
        tenant.state, tenant.updated_at = state, clock.now()
    return location


def _fail(tenant_id: UUID, error: Exception) -> None:
    with main_session(tenant_id=tenant_id) as session:
        tenant = queries.tenant_for_change(session, tenant_id)
        if tenant is not None and tenant.state == TenantState.CREATING:
            tenant.state = TenantState.FAILED
            # The owner reads this: what a server said stays in the log.
            tenant.failure = error.detail if isinstance(error, AppError) else "unexpected error"
