"""The PostgreSQL servers of the tenants' databases, by name."""

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from app.core.secrets import SecretBox
from app.settings import Settings
from app.tenancy.inspection import database_sizes
from app.tenancy.locations import Registry
from app.tenancy.names import Installation
from app.tenancy.server import Server, ServerUnavailable

# The server of PROVISIONER_URL, which needs no row.
DEFAULT_SERVER: Final = "default"
# A process learns of a server's new address within this time.
_KNOWN_SECONDS: Final = 30.0


def sealed_for(name: str) -> str:
    """What a server's URL is sealed for."""
    return f"server {name}"


class Servers:
    """Asks the registry for what it does not know, and now and then for what it does."""

    def __init__(
        self,
        settings: Settings,
        installation: Installation,
        *,
        registry: Registry,
        secrets: SecretBox,
    ) -> None:
        self._settings = settings
        self._installation = installation
        self._registry = registry
        self._secrets = secrets
        self._default = self.at(settings.provisioner_url.get_secret_value())
        self._lock = threading.Lock()
        self._sealed: Mapping[str, str] = {}
        self._known: dict[str, Server] = {}
        self._asked_at = float("-inf")

    def at(self, provisioner_url: str) -> Server:
        return Server(
            provisioner_url,
            self._installation,
            connect_timeout=self._settings.connect_timeout,
            statement_timeout_ms=self._settings.tenant_statement_timeout_ms,
            prepared_statements=self._settings.prepared_statements,
        )

    def of(self, name: str) -> Server:
        """The server of the name.

        Raises:
            ServerUnavailable: nobody knows it.
        """
        if name == DEFAULT_SERVER:
            return self._default
        with self._lock:
            if name not in self._known or time.monotonic() - self._asked_at > _KNOWN_SECONDS:
                self._ask()
            if name not in self._known:
                raise ServerUnavailable(f"There is no server {name!r}.")
            return self._known[name]

    def all(self) -> dict[str, Server]:
        """Every server, as the registry knows them at this moment; the default one first."""
        with self._lock:
            self._ask()
            return {DEFAULT_SERVER: self._default, **self._known}

    def ping(self) -> None:
        """Returns when all answer that this process has had to do with; asks no registry for more.

        Raises:
            ServerUnavailable: one does not.
        """
        with self._lock:
            known = [self._default, *self._known.values()]
        for server in known:
            server.ping()

    def sizes(self) -> dict[str, int]:
        """Bytes on disk of the tenants' databases, by name; without servers that are away."""
        found: dict[str, int] = {}
        for server in self.all().values():
            with suppress(ServerUnavailable):
                found |= database_sizes(server)
        return found

    def _ask(self) -> None:
        sealed = self._registry.sealed_servers()
        for name, url in sealed.items():
            if self._sealed.get(name) != url:
                self._known[name] = self.at(self._secrets.open(url, context=sealed_for(name)))
        for name in self._known.keys() - sealed.keys():
            del self._known[name]
        self._sealed, self._asked_at = sealed, time.monotonic()
