"""Copies of a tenant to try things on, over HTTP."""

from typing import Any, Final
from uuid import UUID

from flask import Blueprint, Response

from app.core.caller import Caller
from app.core.db import MainSession
from app.core.http import endpoint
from app.core.idempotency import Once
from app.core.pages import Page, PageQuery, current_cursors
from app.core.payloads import json_response
from app.domains.tenants import schemas
from app.domains.tenants.models import Sandbox
from app.domains.tenants.service import sandboxes
from app.settings import current_settings
from app.tenancy.manager import current_manager

blueprint: Final = Blueprint(
    "sandboxes", __name__, url_prefix="/api/tenants/<tenant:tenant_id>/sandboxes"
)


@blueprint.post("")
@endpoint(
    allow="sandboxes:manage",
    transaction=None,
    body=schemas.NewSandbox,
    returns=schemas.Sandbox,
    status=202,
    errors=(401, 403, 404, 409, 410, 422, 503),
)
def order_sandbox(caller: Caller, tenant_id: UUID, body: dict[str, Any], once: Once) -> Response:
    """Have a job copy the tenant into another, which is the caller's alone, for some days.

    No mail goes out in its name, and it has none of the webhooks.
    """
    sandbox = sandboxes.order(
        current_manager(),
        source_id=tenant_id,
        owner_id=caller.user_id,
        limit=current_settings().max_tenants,
        tenant_id=once.id,
        **body,
    )
    answer = json_response(schemas.Sandbox().dump(sandbox), status=202)
    answer.headers["Location"] = f"/api/tenants/{tenant_id}/sandboxes/{sandbox.tenant_id}"
    return answer


@blueprint.get("")
@endpoint(
    allow="sandboxes:manage",
    transaction="main",
    query=PageQuery,
    returns=schemas.SandboxPage,
    errors=(401, 403, 404, 410, 422, 503),
)
def list_sandboxes(session: MainSession, tenant_id: UUID, query: dict[str, Any]) -> Page[Sandbox]:
    """The copies of the tenant, oldest first."""
    return sandboxes.page(session, source_id=tenant_id, cursors=current_cursors(), **query)


@blueprint.get("/<uuid:sandbox_id>")
@endpoint(
    allow="sandboxes:manage",
    transaction="main",
    returns=schemas.Sandbox,
    errors=(401, 403, 404, 410, 503),
)
def get_sandbox(session: MainSession, tenant_id: UUID, sandbox_id: UUID) -> Sandbox:
    """One copy, and whether it is ready; it is deleted like any tenant."""
    return sandboxes.get(session, source_id=tenant_id, tenant_id=sandbox_id)
