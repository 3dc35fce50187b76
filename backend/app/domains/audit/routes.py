"""The audit trails over HTTP: each tenant's for its administrators, and the platform's."""

from dataclasses import replace
from typing import Any, Final
from uuid import UUID

from flask import Blueprint, Response, current_app, stream_with_context
from marshmallow import Schema

from app.core import clock
from app.core.db import MainSession
from app.core.dumping import dumper
from app.core.http import OpenPlane, endpoint
from app.core.pages import Page, PageQuery, current_cursors
from app.domains.audit import schemas
from app.domains.audit.models import Entry
from app.domains.audit.service import exporting, reading
from app.domains.audit.service.checkpoints import Checkpoint
from app.integrations.storage import current_storage
from app.integrations.storage.presentation import disposition

blueprint: Final = Blueprint("audit", __name__)

_OF_TENANT: Final = "/api/tenants/<tenant:tenant_id>/audit"
_OF_PLATFORM: Final = "/api/admin/audit"
_TYPES: Final = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl"}
_entry: Final = schemas.Entry()
_platform_entry: Final = schemas.PlatformEntry()


@blueprint.get(_OF_TENANT)
@endpoint(
    allow="audit:read",
    transaction=None,
    query=schemas.EntryQuery,
    returns=schemas.EntryPage,
    errors=(401, 403, 404, 422, 503),
)
def list_entries(open_session: OpenPlane, tenant_id: UUID, query: dict[str, Any]) -> Page[Entry]:
    """What happened in the tenant and to it, newest first; to read it is recorded too."""
    query["filters"] = replace(query["filters"], tenant_id=tenant_id)
    return reading.list_entries(open_session, cursors=current_cursors(), **query)


@blueprint.get(f"{_OF_TENANT}/export")
@endpoint(
    allow="audit:read",
    transaction=None,
    query=schemas.ExportQuery,
    gives_file=True,
    errors=(401, 403, 404, 422, 503),
)
def export_entries(open_session: OpenPlane, tenant_id: UUID, query: dict[str, Any]) -> Response:
    """The same as a file, oldest first; to export it is recorded too."""
    query["filters"] = replace(query["filters"], tenant_id=tenant_id)
    return _file(_entry, open_session, of_tenant=True, **query)


@blueprint.get(f"{_OF_TENANT}/checkpoints")
@endpoint(
    allow="audit:read",
    transaction="main",
    query=PageQuery,
    returns=schemas.CheckpointPage,
    errors=(401, 403, 404, 422, 503),
)
def list_checkpoints(
    session: MainSession, tenant_id: UUID, query: dict[str, Any]
) -> Page[Checkpoint]:
    """Signed statements of where the tenant's trail ended, newest first: for you to keep."""
    return reading.list_checkpoints(
        session,
        installation=current_app.config["INSTALLATION_ID"],
        tenant_id=tenant_id,
        cursors=current_cursors(),
        **query,
    )


@blueprint.get(_OF_PLATFORM)
@endpoint(
    allow="audit:read_all",
    transaction="main",
    query=schemas.PlatformEntryQuery,
    returns=schemas.PlatformEntryPage,
    errors=(401, 403, 422),
)
def list_platform_entries(session: MainSession, query: dict[str, Any]) -> Page[Entry]:
    """The platform's trail, newest first: accounts, sessions, members, tenants; no documents."""
    return reading.list_platform_entries(session, cursors=current_cursors(), **query)


@blueprint.get(f"{_OF_PLATFORM}/export")
@endpoint(
    allow="audit:read_all",
    transaction=None,
    query=schemas.PlatformExportQuery,
    gives_file=True,
    errors=(401, 403, 422),
)
def export_platform_entries(open_session: OpenPlane, query: dict[str, Any]) -> Response:
    """The same as a file, oldest first."""
    return _file(_platform_entry, open_session, of_tenant=False, **query)


@blueprint.get(f"{_OF_PLATFORM}/checkpoints")
@endpoint(
    allow="audit:read_all",
    transaction=None,
    returns=schemas.Checkpoints,
    errors=(401, 403, 503),
)
def list_platform_checkpoints() -> dict[str, Any]:
    """Signed statements of where the platform's trail ended, newest first; a hundred at most."""
    return {"items": reading.list_platform_checkpoints(current_storage())}


def _file(
    schema: Schema, open_session: OpenPlane, *, form: exporting.Format, **what: Any
) -> Response:
    pieces = exporting.export(
        open_session, form=form, columns=list(schema.dump_fields), dump=dumper(schema), **what
    )
    response = Response(stream_with_context(pieces), content_type=_TYPES[form])
    name = f"audit-{clock.now():%Y-%m-%d}.{form}"
    response.headers["Content-Disposition"] = disposition(name, _TYPES[form])
    return response
