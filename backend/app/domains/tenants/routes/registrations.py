"""Registering over HTTP."""

from typing import Any, Final, cast

from flask import Blueprint, current_app

from app.core import throttle
from app.core.db import MainSession
from app.core.http import PUBLIC, endpoint
from app.domains.identity.service.passwords import Passwords
from app.domains.tenants import schemas
from app.domains.tenants.queries import Membership
from app.domains.tenants.service import registrations
from app.settings import current_settings
from app.tenancy.manager import current_manager

blueprint: Final = Blueprint("registrations", __name__, url_prefix="/api/tenants/register")


@blueprint.post("")
@endpoint(
    allow=PUBLIC,
    transaction="main",
    body=schemas.Register,
    throttle=throttle.sends_mail("register", account_of=lambda body: body["owner"]["email"]),
    returns=schemas.Registered,
    status=202,
    errors=(403, 422),
)
def register(session: MainSession, body: dict[str, dict[str, str]]) -> dict[str, str]:
    """Ask for an account and a tenant; both are made once the address is proven."""
    registrations.ask(session, current_settings(), **body)
    return {"detail": "Check your mail: the link in it makes your account and your tenant."}


@blueprint.post("/confirm")
@endpoint(
    allow=PUBLIC,
    transaction=None,
    body=schemas.ConfirmRegistration,
    throttle=throttle.hashes_password("confirm-registration"),
    returns=schemas.Tenant,
    errors=(403, 404, 409, 422, 503),
)
def confirm_registration(body: dict[str, Any]) -> Membership:
    """Make the account, the tenant and its database by a mail's token; then sign in."""
    passwords = cast("Passwords", current_app.extensions["passwords"])
    return registrations.confirm(current_manager(), passwords, current_settings(), **body)
