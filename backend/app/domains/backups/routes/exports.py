"""A tenant's exports of its data over HTTP, for its owners."""

from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from flask import Blueprint, Response

from app.core import clock
from app.core.caller import Caller
from app.core.db import MainSession
from app.core.http import endpoint
from app.core.pages import Page, PageQuery, current_cursors
from app.core.payloads import json_response
from app.domains.backups import schemas
from app.domains.backups.models import Export
from app.domains.backups.service import exports
from app.integrations.storage import current_storage
from app.settings import current_settings

blueprint: Final = Blueprint(
    "exports", __name__, url_prefix="/api/tenants/<tenant:tenant_id>/exports"
)


@blueprint.post("")
@endpoint(
    allow="exports:manage",
    transaction="main",
    returns=schemas.Export,
    status=202,
    errors=(401, 403, 404, 409, 410, 503),
)
def request_export(session: MainSession, caller: Caller, tenant_id: UUID) -> Response:
    """Have a job write all of the tenant's data into an archive; Location tells how it goes."""
    export = exports.request(session, current_settings(), caller=caller, tenant_id=tenant_id)
    answer = json_response(schemas.Export().dump(export), status=202)
    answer.headers["Location"] = f"/api/tenants/{tenant_id}/exports/{export.id}"
    return answer


@blueprint.get("")
@endpoint(
    allow="exports:manage",
    transaction="main",
    query=PageQuery,
    returns=schemas.ExportPage,
    errors=(401, 403, 404, 410, 422, 503),
)
def list_exports(session: MainSession, tenant_id: UUID, query: dict[str, Any]) -> Page[Export]:
    """The exports that can be fetched or are being made, newest first."""
    return exports.page(session, tenant_id=tenant_id, cursors=current_cursors(), **query)


@blueprint.get("/<uuid:export_id>")
@endpoint(
    allow="exports:manage",
    transaction="main",
    returns=schemas.Export,
    errors=(401, 403, 404, 410, 503),
)
def get_export(session: MainSession, tenant_id: UUID, export_id: UUID) -> Export:
    """One export, and how far it is."""
    return exports.get(session, tenant_id=tenant_id, export_id=export_id)


@blueprint.get("/<uuid:export_id>/download-url")
@endpoint(
    allow="exports:manage",
    transaction="main",
    query=schemas.ExportLinkQuery,
    returns=schemas.ExportLink,
    errors=(401, 403, 404, 409, 410, 422, 503),
)
def create_export_link(
    session: MainSession, tenant_id: UUID, export_id: UUID, query: dict[str, int]
) -> dict[str, object]:
    """A signed link that opens the archive for anybody who has it, until it expires."""
    expires_in = query["expires_in"]
    url = exports.create_link(
        session,
        current_storage(),
        tenant_id=tenant_id,
        export_id=export_id,
        expires_in=expires_in,
    )
    return {"url": url, "expires_at": clock.now() + timedelta(seconds=expires_in)}


@blueprint.delete("/<uuid:export_id>")
@endpoint(
    allow="exports:manage",
    transaction="main",
    status=204,
    errors=(401, 403, 404, 409, 410, 503),
)
def delete_export(session: MainSession, tenant_id: UUID, export_id: UUID) -> None:
    """Delete the archive before its time is over; links to it open nothing any more."""
    exports.delete(session, current_storage(), tenant_id=tenant_id, export_id=export_id)
