"""A tenant's backups over HTTP: its owners see them, the platform's administrators order them."""

from typing import Any, Final
from uuid import UUID

from flask import Blueprint, Response

from app.core.db import MainSession
from app.core.http import endpoint
from app.core.pages import Page, PageQuery, current_cursors
from app.core.payloads import json_response
from app.domains.backups import schemas
from app.domains.backups.models import Backup
from app.domains.backups.service import ordering
from app.settings import current_settings

blueprint: Final = Blueprint(
    "backups", __name__, url_prefix="/api/tenants/<tenant:tenant_id>/backups"
)


@blueprint.get("")
@endpoint(
    allow="backups:read",
    transaction="main",
    any_state=True,
    query=PageQuery,
    returns=schemas.BackupPage,
    errors=(401, 403, 404, 422),
)
def list_backups(session: MainSession, tenant_id: UUID, query: dict[str, Any]) -> Page[Backup]:
    """The tenant's backups and what their last proofs said, newest first."""
    return ordering.page(session, tenant_id=tenant_id, cursors=current_cursors(), **query)


@blueprint.get("/<uuid:backup_id>")
@endpoint(
    allow="backups:read",
    transaction="main",
    any_state=True,
    returns=schemas.Backup,
    errors=(401, 403, 404),
)
def get_backup(session: MainSession, tenant_id: UUID, backup_id: UUID) -> Backup:
    """One backup, how far it is, and what its last proof said."""
    return ordering.get(session, tenant_id=tenant_id, backup_id=backup_id)


@blueprint.post("")
@endpoint(
    allow="backups:manage",
    transaction="main",
    any_state=True,
    returns=schemas.Backup,
    status=202,
    errors=(401, 403, 404, 409),
)
def order_backup(session: MainSession, tenant_id: UUID) -> Response:
    """Have a job back the tenant up now; Location tells how it goes."""
    return _accepted(ordering.order(session, current_settings(), tenant_id=tenant_id))


@blueprint.post("/<uuid:backup_id>/proof")
@endpoint(
    allow="backups:manage",
    transaction="main",
    any_state=True,
    returns=schemas.Backup,
    status=202,
    errors=(401, 403, 404, 409),
)
def order_proof(session: MainSession, tenant_id: UUID, backup_id: UUID) -> Response:
    """Have a job restore the backup for a test, compare it and drop the copy again."""
    return _accepted(
        ordering.order_proof(session, current_settings(), tenant_id=tenant_id, backup_id=backup_id)
    )


def _accepted(backup: Backup) -> Response:
    answer = json_response(schemas.Backup().dump(backup), status=202)
    answer.headers["Location"] = f"/api/tenants/{backup.tenant_id}/backups/{backup.id}"
    return answer
