"""The feed over HTTP."""

from typing import Any, Final

from flask import Blueprint

from app.core.http import endpoint
from app.core.pages import Page, current_cursors
from app.domains.activity import schemas, service
from app.domains.activity.models import Activity
from app.tenancy.sessions import TenantSession

blueprint: Final = Blueprint("activity", __name__)


@blueprint.get("/api/tenants/<tenant:tenant_id>/events")
@endpoint(
    allow="events:read",
    transaction="tenant_reads",
    query=schemas.ActivityQuery,
    returns=schemas.ActivityPage,
    errors=(401, 403, 404, 422, 503),
)
def list_activities(session: TenantSession, query: dict[str, Any]) -> Page[Activity]:
    """What happened in the tenant, newest first; a moment after it did."""
    return service.list_activities(session, cursors=current_cursors(), **query)
