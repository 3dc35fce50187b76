"""Tenants over HTTP."""

from typing import Any, Final
from uuid import UUID

from flask import Blueprint

from app.core.caller import Caller
from app.core.db import MainSession
from app.core.http import SIGNED_IN, endpoint
from app.core.pages import Page, PageQuery, current_cursors
from app.domains.tenants import schemas
from app.domains.tenants.queries import Membership
from app.domains.tenants.service import directory, lifecycle
from app.tenancy.manager import current_manager

blueprint: Final = Blueprint("tenants", __name__, url_prefix="/api/tenants")


@blueprint.post("")
@endpoint(
    allow=SIGNED_IN,
    transaction=None,
    body=schemas.NewTenant,
    returns=schemas.Tenant,
    status=201,
    errors=(401, 409, 422, 503),
)
def create_tenant(caller: Caller, body: dict[str, str]) -> Membership:
    """Create a tenant with a database of its own; the caller becomes its owner."""
    return lifecycle.create_tenant(current_manager(), **body, owner_id=caller.user_id)


@blueprint.get("")
@endpoint(
    allow=SIGNED_IN,
    transaction="main",
    query=PageQuery,
    returns=schemas.TenantPage,
    errors=(401, 422),
)
def list_tenants(session: MainSession, caller: Caller, query: dict[str, Any]) -> Page[Membership]:
    """The tenants that the caller is a member of, oldest first."""
    return directory.memberships(
        session, user_id=caller.user_id, cursors=current_cursors(), **query
    )


@blueprint.get("/<uuid:tenant_id>")
@endpoint(
    allow="tenants:read",
    transaction="main",
    any_state=True,
    returns=schemas.Tenant,
    errors=(401, 403, 404),
)
def get_tenant(session: MainSession, caller: Caller, tenant_id: UUID) -> Membership:
    """One tenant, in whatever state it is."""
    return directory.membership(session, user_id=caller.user_id, tenant_id=tenant_id)


@blueprint.post("/<uuid:tenant_id>/retry")
@endpoint(
    allow="tenants:manage",
    transaction=None,
    any_state=True,
    returns=schemas.Tenant,
    errors=(401, 403, 404, 409, 503),
)
def retry_provisioning(caller: Caller, tenant_id: UUID) -> Membership:
    """Make the database of a tenant whose provisioning failed or was interrupted."""
    lifecycle.provision(current_manager(), tenant_id=tenant_id)
    return directory.membership_now(user_id=caller.user_id, tenant_id=tenant_id)


@blueprint.patch("/<uuid:tenant_id>")
@endpoint(
    allow="tenants:manage",
    transaction="main",
    any_state=True,
    body=schemas.RenameTenant,
    returns=schemas.Tenant,
    errors=(401, 403, 404, 422),
)
def rename_tenant(
    session: MainSession, caller: Caller, tenant_id: UUID, body: dict[str, str]
) -> Membership:
    """Change a tenant's name; its slug and its database keep theirs."""
    return directory.rename(session, user_id=caller.user_id, tenant_id=tenant_id, **body)


@blueprint.post("/<uuid:tenant_id>/suspend")
@endpoint(
    allow="tenants:suspend",
    transaction=None,
    any_state=True,
    returns=schemas.Tenant,
    errors=(401, 403, 404, 409, 503),
)
def suspend_tenant(caller: Caller, tenant_id: UUID) -> Membership:
    """Refuse the tenant's members and end its database connections, in every process."""
    lifecycle.suspend(current_manager(), tenant_id=tenant_id)
    return directory.membership_now(user_id=caller.user_id, tenant_id=tenant_id)


@blueprint.post("/<uuid:tenant_id>/resume")
@endpoint(
    allow="tenants:suspend",
    transaction=None,
    any_state=True,
    returns=schemas.Tenant,
    errors=(401, 403, 404, 409, 503),
)
def resume_tenant(caller: Caller, tenant_id: UUID) -> Membership:
    """Let a suspended tenant's members in again."""
    lifecycle.resume(current_manager(), tenant_id=tenant_id)
    return directory.membership_now(user_id=caller.user_id, tenant_id=tenant_id)
