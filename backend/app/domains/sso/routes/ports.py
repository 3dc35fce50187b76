"""What the factory has wired for single sign-on."""

from typing import cast

from flask import current_app

from app.domains.sso.service import Ports


def current_ports() -> Ports:
    return cast("Ports", current_app.extensions["sso"])
