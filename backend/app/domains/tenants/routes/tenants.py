"""Tenants over HTTP."""

from contextlib import suppress
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from flask import Blueprint, Response

from app.core.background import finished_within
from app.core.caller import Caller
from app.core.db import MainSession
from app.core.http import SIGNED_IN, endpoint
from app.core.idempotency import Once
from app.core.pages import Page, PageQuery, current_cursors
from app.core.payloads import json_response
from app.domains.tenants import schemas
from app.domains.tenants.errors import ProvisioningFailed, WrongState
from app.domains.tenants.queries import Membership
from app.domains.tenants.service import deletion, directory, lifecycle, read_only
from app.settings import current_settings
from app.tenancy.manager import current_manager

blueprint: Final = Blueprint("tenants", __name__, url_prefix="/api/tenants")


@blueprint.post("")
@endpoint(
    allow=SIGNED_IN,
    transaction=None,
    body=schemas.NewTenant,
    returns=schemas.Tenant,
    status=201,
    may_answer_later=True,
    errors=(401, 403, 409, 422, 503),
)
def create_tenant(caller: Caller, body: dict[str, str], once: Once) -> Response:
    """Create a tenant with a database of its own; the caller becomes its owner.

    202 where it is not ready in time: its state is told at Location.
    """
    manager, settings = current_manager(), current_settings()
    tenant_id = lifecycle.register(
        manager,
        name=body["name"],
        slug=body["slug"],
        owner_id=caller.user_id,
        limit=settings.max_tenants,
        tenant_id=once.id,
    )
    with suppress(ProvisioningFailed, WrongState):  # the state tells it, and a job goes on
        finished_within(
            settings.tenant_creation_wait,
            lambda: lifecycle.provision(manager, tenant_id=tenant_id),
        )
    tenant = directory.membership_now(user_id=caller.user_id, tenant_id=tenant_id)
    answer = json_response(schemas.Tenant().dump(tenant), status=201 if tenant.active else 202)
    answer.headers["Location"] = f"{blueprint.url_prefix}/{tenant_id}"
    return answer


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


@blueprint.get("/<tenant:tenant_id>")
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


@blueprint.post("/<tenant:tenant_id>/retry")
@endpoint(
    allow="tenants:manage",
    transaction=None,
    any_state=True,
    returns=schemas.Tenant,
    errors=(401, 403, 404, 409, 503),
)
def retry_provisioning(caller: Caller, tenant_id: UUID) -> Membership:
    """Make the database of a tenant whose provisioning failed or was interrupted."""
    lifecycle.retry(current_manager(), tenant_id=tenant_id)
    return directory.membership_now(user_id=caller.user_id, tenant_id=tenant_id)


@blueprint.patch("/<tenant:tenant_id>")
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


@blueprint.post("/<tenant:tenant_id>/suspend")
@endpoint(
    allow="tenants:suspend",
    transaction=None,
    any_state=True,
    body=schemas.SuspendTenant,
    body_required=False,
    returns=schemas.Tenant,
    errors=(401, 403, 404, 409, 422, 503),
)
def suspend_tenant(caller: Caller, tenant_id: UUID, body: dict[str, Any]) -> Membership:
    """Refuse the tenant's members and end its database connections, in every process."""
    lifecycle.suspend(current_manager(), tenant_id=tenant_id, **body)
    return directory.membership_now(user_id=caller.user_id, tenant_id=tenant_id)


@blueprint.post("/<tenant:tenant_id>/resume")
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


@blueprint.post("/<tenant:tenant_id>/read-only")
@endpoint(
    allow="tenants:suspend",
    transaction=None,
    any_state=True,
    body=schemas.MakeReadOnly,
    body_required=False,
    returns=schemas.Tenant,
    errors=(401, 403, 404, 409, 422, 503),
)
def make_read_only(caller: Caller, tenant_id: UUID, body: dict[str, Any]) -> Membership:
    """Let the tenant's documents be read and not changed; its database refuses, everywhere."""
    read_only.make_read_only(current_manager(), tenant_id=tenant_id, **body)
    return directory.membership_now(user_id=caller.user_id, tenant_id=tenant_id)


@blueprint.delete("/<tenant:tenant_id>/read-only")
@endpoint(
    allow="tenants:suspend",
    transaction=None,
    any_state=True,
    returns=schemas.Tenant,
    errors=(401, 403, 404, 409, 503),
)
def make_writable(caller: Caller, tenant_id: UUID) -> Membership:
    """Let the tenant's documents be changed again."""
    read_only.make_writable(current_manager(), tenant_id=tenant_id)
    return directory.membership_now(user_id=caller.user_id, tenant_id=tenant_id)


@blueprint.delete("/<tenant:tenant_id>")
@endpoint(
    allow="tenants:delete",
    transaction=None,
    any_state=True,
    query=schemas.DeleteTenant,
    returns=schemas.Tenant,
    errors=(401, 403, 404, 409, 410, 422, 503),
)
def delete_tenant(caller: Caller, tenant_id: UUID, query: dict[str, str]) -> Membership:
    """Shut the tenant; when its period of grace is over, its database and files are erased."""
    grace = timedelta(days=current_settings().tenant_grace_days)
    deletion.delete(current_manager(), tenant_id=tenant_id, grace=grace, **query)
    return directory.membership_now(user_id=caller.user_id, tenant_id=tenant_id)


@blueprint.post("/<tenant:tenant_id>/restore")
@endpoint(
    allow="tenants:delete",
    transaction=None,
    any_state=True,
    returns=schemas.Tenant,
    errors=(401, 403, 404, 409, 410, 503),
)
def restore_tenant(caller: Caller, tenant_id: UUID) -> Membership:
    """Undo a deletion within its period of grace."""
    limit = current_settings().max_tenants
    deletion.restore(current_manager(), tenant_id=tenant_id, limit=limit)
    return directory.membership_now(user_id=caller.user_id, tenant_id=tenant_id)
