"""The audit trail over HTTP."""

from typing import Any, Final

from flask import Blueprint

from app.core.http import endpoint
from app.core.pages import Page, PageQuery, current_cursors
from app.domains.audit import schemas
from app.domains.audit.models import TenantEntry
from app.domains.audit.service import reading
from app.tenancy.sessions import TenantSession

blueprint: Final = Blueprint("audit", __name__)


@blueprint.get("/api/tenants/<tenant:tenant_id>/audit")
@endpoint(
    allow="audit:read",
    transaction="tenant",
    query=PageQuery,
    returns=schemas.EntryPage,
    errors=(401, 403, 404, 422, 503),
)
def list_entries(session: TenantSession, query: dict[str, Any]) -> Page[TenantEntry]:
    """What happened to the tenant's documents, newest first."""
    return reading.list_entries(session, cursors=current_cursors(), **query)
