"""The environment that the application gets under ``make run``, and the file that keeps it."""

import base64
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from embedded.errors import EmbeddedError

INSTALLATION = "tenantry"
SERVER_ROLES = ("DATABASE_OWNER_URL", "DATABASE_PLATFORM_URL", "PROVISIONER_URL")
_SERVER_LINES = ("DATABASE_URL", *SERVER_ROLES, "INSTALLATION_ID")


def write_private(path: Path, text: str) -> None:
    """Replace the file whole, readable by its owner alone."""
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with os.fdopen(os.open(draft, flags, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)


class EnvironmentFile:
    """``KEY=value`` lines, readable by the owner alone."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, str]:
        """All pairs; empty when there is no file yet."""
        if not self.path.exists():
            return {}
        pairs = {}
        for number, line in enumerate(self.path.read_text().splitlines(), start=1):
            if not line.strip() or line.startswith("#"):
                continue
            name, separator, value = line.partition("=")
            if not separator:
                raise EmbeddedError(f"{self.path}, line {number}: expected KEY=value.")
            pairs[name.strip()] = value
        return pairs

    def keep(self, pairs: Mapping[str, str]) -> None:
        """Set these lines, leave the others."""
        merged = {**self.read(), **pairs}
        write_private(self.path, "".join(f"{name}={value}\n" for name, value in merged.items()))

    def generate_secrets(self) -> None:
        """Secrets of this installation, made once."""
        fresh = {
            "SECRET_KEY": secrets.token_urlsafe(48),
            "SECRETS_KEYS": base64.urlsafe_b64encode(os.urandom(32)).decode(),
            "BACKUP_KEYS": base64.urlsafe_b64encode(os.urandom(32)).decode(),
            "AUDIT_SIGNING_KEY": base64.urlsafe_b64encode(os.urandom(32)).decode(),
            "DEMO_PASSWORD": secrets.token_urlsafe(12),
        }
        known = self.read()
        missing = {name: value for name, value in fresh.items() if name not in known}
        if missing:
            self.keep(missing)


def application_environment(
    outer: Mapping[str, str], file: Mapping[str, str], *, server_is_prepared: bool
) -> dict[str, str]:
    """What the application's processes get: the caller's variables win over the file.

    The exception are the lines that the bootstrap wrote: without a prepared server, an outer
    DATABASE_URL names the administrator, who is nobody's business after the bootstrap.
    """
    if server_is_prepared:
        return {**file, **outer}
    roles = {name: file[name] for name in _SERVER_LINES if name in file}
    return {**file, **outer, **roles}
