"""The only reader of the environment: typed, frozen, checked at start.

What is harmless on a developer's machine and not in production is refused there, beside the rule
that holds everywhere.
"""

from typing import cast

from flask import current_app
from pydantic import ValidationError

from app.settings.backups import Backups
from app.settings.events import Events
from app.settings.files import Files
from app.settings.installation import Installation
from app.settings.people import People
from app.settings.rules import Environment
from app.settings.tenants import Tenants
from app.settings.webhooks import Webhooks

__all__ = ["Environment", "InvalidSettings", "Settings", "current_settings", "load_settings"]


class InvalidSettings(SystemExit):
    """The environment does not describe a system that can run; the message names every fault."""


# pydantic takes the fields of the last base first, and rules for production look at `environment`.
class Settings(Webhooks, Backups, Events, People, Files, Tenants, Installation):
    """All groups together."""


def load_settings(*, for_jobs: bool = False) -> Settings:
    """The settings from the environment; a process for jobs cannot do without the platform's role.

    Raises:
        InvalidSettings: with one line for each variable that is missing or wrong.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        faults = [
            f"  {'.'.join(map(str, fault['loc'])).upper() or 'SETTINGS'}: {fault['msg']}"
            for fault in error.errors(include_input=False, include_url=False)
        ]
        raise InvalidSettings("\n".join(["The settings are not usable:", *faults])) from None
    if for_jobs and settings.database_platform_url is None:
        raise InvalidSettings("  DATABASE_PLATFORM_URL: Field required")
    return settings


def current_settings() -> Settings:
    return cast("Settings", current_app.extensions["settings"])
