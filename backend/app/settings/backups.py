"""Backups of tenants: with which keys and tools, how often, and for how long."""

import base64
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from app.settings.rules import Group, in_production, refuse_monotonous, split

_KEY_BYTES: Final = 32


class Backups(Group):
    backup_keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    """Seal backups: URL-safe base64 of 32 random bytes, separated by commas: the first seals, all
    open. Without one there are no backups; a backup whose key is lost is lost."""
    backup_every_hours: Annotated[int, Field(ge=1, le=24 * 31)] | None = None
    """How old a tenant's newest backup becomes before a job takes the next; else none is taken."""
    backup_keep_days: Annotated[int, Field(ge=1, le=3650)] = 30
    """How long a backup is kept; the newest of each tenant stays until there is a newer one."""
    backup_prove_days: Annotated[int, Field(ge=1, le=365)] = 7
    """Where backups are scheduled: how often a job restores a tenant's newest one to prove it."""
    restore_grace_days: Annotated[int, Field(ge=1, le=365)] = 7
    """How long the database that a restored one replaced is kept, to swap it back."""
    export_keep_hours: Annotated[int, Field(ge=1, le=24 * 31)] = 72
    """How long the archive of an export that was asked for over HTTP can be fetched."""
    postgres_tools: Path | None = None
    """The folder of `pg_dump` and `pg_restore`; else Debian's folder of the server's version, or
    what PATH has. They are of the server's major version."""

    @field_validator("backup_keys", mode="before")
    @classmethod
    def _split_backup_keys(cls, value: object) -> object:
        return split(value) if isinstance(value, str) else value

    @field_validator("backup_keys")
    @classmethod
    def _are_keys(cls, keys: tuple[SecretStr, ...], info: ValidationInfo) -> tuple[SecretStr, ...]:
        for key in keys:
            raw = base64.urlsafe_b64decode(key.get_secret_value())
            if len(raw) != _KEY_BYTES:
                raise ValueError("a key is the URL-safe base64 of 32 bytes")
            if in_production(info):
                refuse_monotonous(raw)
        return keys

    @property
    def backup_key_bytes(self) -> list[bytes]:
        return [base64.urlsafe_b64decode(key.get_secret_value()) for key in self.backup_keys]
