"""An installation that a test may break: its own roles, main database, template and tenants."""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg
from flask import Flask
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from app.core import ids
from app.settings import Settings
from app.tenancy.locations import TenantLocation
from app.tenancy.manager import TenantDatabaseManager
from app.tenancy.names import Installation
from tests.cast import House, initialise, new_house, new_person
from tests.conftest import drop_installation, make_settings
from tests.core.apps import another_app
from tests.tenancy.attacks import Connection

# Only a test that fails waits this long.
PATIENCE_SECONDS: Final = 30.0


@dataclass(frozen=True)
class Laboratory:
    """One installation on the run's server, and ways to look at it from outside."""

    app: Flask
    settings: Settings
    admin_url: str

    @property
    def manager(self) -> TenantDatabaseManager:
        manager: TenantDatabaseManager = self.app.extensions["tenancy"]
        return manager

    @property
    def installation(self) -> Installation:
        return self.manager.installation

    def another_manager(self, **changes: Any) -> TenantDatabaseManager:
        """A manager with other settings and a pool of its own, as another process would have."""
        return TenantDatabaseManager(
            self.settings.model_copy(update=changes),
            registry=self.manager._registry,
            secrets=self.manager._secrets,
        )

    def new_database(self, slug: str = "acme") -> TenantLocation:
        """A tenant's database that stands in no ledger."""
        location = self.manager.new_location(ids.new_id(), slug)
        self.manager.provision(location)
        return location

    def new_house(self, name: str) -> House:
        """A tenant of the registry, owned by somebody new. Needs an application context."""
        return new_house(name, new_person(self.app, "Alice"))

    def as_superuser(self, database: str = "postgres") -> Connection:
        return psycopg.connect(self.admin_url, dbname=database, autocommit=True)

    def as_tenant(self, location: TenantLocation, database: str | None = None) -> Connection:
        """The tenant's own role past the manager, in autocommit; in another database too."""
        login = self.manager._logins.of(location).connect_arguments()
        target = {"user": location.role, "dbname": database or location.database}
        address = make_conninfo(**(self.manager.server._address | target | login))
        return psycopg.connect(address, autocommit=True)

    def environment(self) -> dict[str, str]:
        """The settings as variables for another process."""
        return {
            name.upper(): _text(value)
            for name, value in self.settings.model_dump().items()
            if value is not None
        }


def _text(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, tuple):
        return ",".join(_text(each) for each in value)
    return str(value)


@contextmanager
def laboratory(server_urls: dict[str, str], folder: Path, **changes: Any) -> Iterator[Laboratory]:
    """An installation with a migrated main database and a template, gone when its server is."""
    installation = Installation(f"t{secrets.token_hex(4)}")
    try:
        settings = make_settings(server_urls, installation, folder, **changes)
        with another_app(settings) as app:
            initialise(app)
            yield Laboratory(app, settings, server_urls["postgres"])
    finally:
        drop_installation(server_urls, installation)


def until(condition: Callable[[], bool], what: str) -> None:
    """Waits until the condition holds; fails the test where it never does."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for: {what}"
        time.sleep(0.005)
