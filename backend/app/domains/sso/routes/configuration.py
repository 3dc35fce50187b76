"""A tenant's directory over HTTP."""

from typing import Any, Final
from uuid import UUID

from flask import Blueprint

from app.core.db import MainSession
from app.core.http import endpoint
from app.core.pages import Page, PageQuery, current_cursors
from app.domains.sso import schemas
from app.domains.sso.models import SSOAttempt
from app.domains.sso.routes.ports import current_ports
from app.domains.sso.service import configuration, refusals
from app.domains.sso.service.configuration import Configured
from app.settings import current_settings

blueprint: Final = Blueprint(
    "sso_config", __name__, url_prefix="/api/tenants/<tenant:tenant_id>/sso/config"
)
_MANAGE: Final = "sso:manage"


@blueprint.get("")
@endpoint(allow=_MANAGE, transaction="main", returns=schemas.Config, errors=(401, 403, 404, 503))
def get_config(session: MainSession, tenant_id: UUID) -> Configured:
    """The tenant's directory, and how its members sign in; secrets are never shown."""
    return configuration.get(session, current_settings(), tenant_id=tenant_id)


@blueprint.put("")
@endpoint(
    allow=_MANAGE,
    transaction="main",
    body=schemas.PutConfig,
    returns=schemas.Config,
    errors=(401, 403, 404, 409, 422, 503),
)
def put_config(session: MainSession, tenant_id: UUID, body: dict[str, Any]) -> Configured:
    """Give the tenant a directory, in place of the one that is there.

    Another directory or application is a draft: test it, then activate it.
    """
    values = schemas.PutConfig.values(body)
    return configuration.put(session, current_ports(), tenant_id=tenant_id, values=values)


@blueprint.patch("")
@endpoint(
    allow=_MANAGE,
    transaction="main",
    body=schemas.ChangeConfig,
    returns=schemas.Config,
    errors=(401, 403, 404, 409, 422, 503),
)
def change_config(session: MainSession, tenant_id: UUID, body: dict[str, Any]) -> Configured:
    """Change what is given; a null secret or certificate is forgotten."""
    values = schemas.ChangeConfig.values(body)
    return configuration.change(session, current_ports(), tenant_id=tenant_id, values=values)


@blueprint.delete("")
@endpoint(allow=_MANAGE, transaction="main", status=204, errors=(401, 403, 404, 503))
def remove_config(session: MainSession, tenant_id: UUID) -> None:
    """Forget the directory; the members sign in with their passwords again."""
    configuration.remove(session, tenant_id=tenant_id)


@blueprint.post("/test")
@endpoint(
    allow=_MANAGE,
    transaction=None,
    returns=schemas.Test,
    errors=(401, 403, 404, 409, 503),
)
def test_config(tenant_id: UUID) -> dict[str, object]:
    """Ask whether the directory is there, and get an address to sign in at, once, for a test."""
    login_url, expires_at = configuration.begin_test(current_ports(), tenant_id=tenant_id)
    return {"login_url": login_url, "expires_at": expires_at}


@blueprint.post("/activate")
@endpoint(
    allow=_MANAGE,
    transaction="main",
    returns=schemas.Config,
    errors=(401, 403, 404, 409, 503),
)
def activate_config(session: MainSession, tenant_id: UUID) -> Configured:
    """Let the members sign in by it, once somebody has done so for a test."""
    return configuration.activate(session, current_settings(), tenant_id=tenant_id)


@blueprint.get("/attempts")
@endpoint(
    allow=_MANAGE,
    transaction="main",
    query=PageQuery,
    returns=schemas.AttemptPage,
    errors=(401, 403, 404, 422, 503),
)
def list_attempts(session: MainSession, tenant_id: UUID, query: dict[str, Any]) -> Page[SSOAttempt]:
    """The last sign-ins that failed, with Entra's number and what to do about it."""
    return refusals.list_attempts(session, tenant_id=tenant_id, cursors=current_cursors(), **query)
