"""The only reader of the environment: typed, frozen, checked at start.

What is harmless on a developer's machine and not in production is refused there, beside the rule
that holds everywhere.
"""

from collections.abc import Iterable
from typing import Final, cast

from flask import current_app
from pydantic import PrivateAttr, ValidationError

from app.settings.audit import Audit
from app.settings.backups import Backups
from app.settings.events import Events
from app.settings.files import Files
from app.settings.installation import Installation
from app.settings.people import People
from app.settings.rules import Environment
from app.settings.serving import Serving
from app.settings.sso import SingleSignOn
from app.settings.stored import Stored, check_transit, read_stored, signed_in
from app.settings.tenants import Tenants
from app.settings.vault import Vault, VaultAccess
from app.settings.vault_client import VaultFault
from app.settings.webhooks import Webhooks

__all__ = [
    "Environment",
    "InvalidSettings",
    "Settings",
    "current_settings",
    "load_settings",
    "unusable",
]

_UNUSABLE: Final = "The settings are not usable:"


class InvalidSettings(SystemExit):
    """The environment does not describe a system that can run; the message names every fault."""


# pydantic takes the fields of the last base first, and rules for production look at `environment`.
class Settings(
    Webhooks,
    Audit,
    Backups,
    Events,
    SingleSignOn,
    People,
    Files,
    Tenants,
    Serving,
    Vault,
    Installation,
):
    """All groups together."""

    _stored: frozenset[str] = PrivateAttr(default=frozenset())

    @classmethod
    def with_stored(cls, stored: Stored) -> "Settings":
        """The environment's, and before them what Vault has."""
        settings = cls(**stored.values)
        settings._stored = frozenset(stored.values)
        return settings

    def source_of(self, name: str) -> str:
        """Where a setting comes from: `vault`, `environment` or `default`."""
        if name in self._stored:
            return "vault"
        return "environment" if name in self.model_fields_set else "default"


def load_settings(*, for_jobs: bool = False) -> Settings:
    """The settings from Vault and the environment; jobs cannot do without the platform's role.

    Raises:
        InvalidSettings: with one line for each variable that is missing or wrong, or for what
            keeps this process from reading Vault.
    """
    stored = _stored()
    try:
        settings = Settings.with_stored(stored)
    except ValidationError as error:
        raise unusable(error, *_told(stored.gaps)) from None
    if for_jobs and settings.database_platform_url is None:
        missing = "  DATABASE_PLATFORM_URL: Field required"
        raise InvalidSettings("\n".join([missing, *_told(stored.gaps)]))
    return settings


def _stored() -> Stored:
    try:
        access = VaultAccess()
    except ValidationError:
        return Stored()  # the same rules hold for Settings, which tells all faults at once
    if not access.use_vault:
        return Stored()
    try:
        with signed_in(access) as client:
            stored = read_stored(client, access, known=Settings.model_fields)
            check_transit(client, access)
    except VaultFault as fault:
        raise InvalidSettings("\n".join([_UNUSABLE, *_told([fault])])) from None
    return stored


def _told(faults: Iterable[object]) -> list[str]:
    return [f"  VAULT: {fault}" for fault in faults]


def unusable(error: ValidationError, *further: str) -> InvalidSettings:
    """One line for each fault."""
    faults = [
        f"  {'.'.join(map(str, fault['loc'])).upper() or 'SETTINGS'}: {fault['msg']}"
        for fault in error.errors(include_input=False, include_url=False)
        if fault["type"] != "default_factory_not_called"  # a consequence of the others
    ]
    return InvalidSettings("\n".join([_UNUSABLE, *faults, *further]))


def current_settings() -> Settings:
    return cast("Settings", current_app.extensions["settings"])
