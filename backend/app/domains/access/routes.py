"""The table of roles over HTTP."""

from typing import Final

from flask import Blueprint

from app.core.http import endpoint
from app.domains.access import schemas
from app.domains.access.policy import PERMISSIONS

blueprint: Final = Blueprint("access", __name__)


@blueprint.get("/api/tenants/<tenant:tenant_id>/roles")
@endpoint(
    allow="tenants:read", transaction=None, returns=schemas.Roles, errors=(401, 403, 404, 503)
)
def list_roles() -> dict[str, object]:
    """What each role may do."""
    return {"roles": {role: sorted(allowed) for role, allowed in PERMISSIONS.items()}}
