"""Tenants as the platform's administrators see them: all of them, and nothing that is in one."""

from typing import Any, Final

from flask import Blueprint

from app.core.caller import Caller
from app.core.db import MainSession
from app.core.http import endpoint
from app.core.pages import Page, current_cursors
from app.domains.tenants import schemas
from app.domains.tenants.queries import Membership
from app.domains.tenants.service import directory

blueprint: Final = Blueprint("admin", __name__, url_prefix="/api/admin/tenants")


@blueprint.get("")
@endpoint(
    allow="tenants:read_all",
    transaction="main",
    query=schemas.TenantQuery,
    returns=schemas.TenantPage,
    errors=(401, 403, 422),
)
def list_all_tenants(
    session: MainSession, caller: Caller, query: dict[str, Any]
) -> Page[Membership]:
    """Every tenant, oldest first, also what is left of one that is purged."""
    return directory.all_tenants(
        session, user_id=caller.user_id, cursors=current_cursors(), **query
    )
