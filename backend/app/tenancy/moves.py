"""The two ends of a tenant's move: the copy that is made, and the door that is shut behind it."""

from collections.abc import Iterator
from contextlib import contextmanager

from app.tenancy import migrations, provisioning, templates
from app.tenancy.copying import Copying
from app.tenancy.inspection.catalog import read_catalog
from app.tenancy.inspection.drift import SchemaDiffers, differences
from app.tenancy.locations import TenantLocation
from app.tenancy.manager import TenantDatabaseManager
from app.tenancy.migrations import applying
from app.tenancy.server import Connection


class Passage:
    """From one location of a tenant to another, on another server."""

    def __init__(
        self, manager: TenantDatabaseManager, source: TenantLocation, target: TenantLocation
    ) -> None:
        self._manager = manager
        self.source = source
        self.target = target

    @contextmanager
    def prepared(self) -> Iterator[Copying]:
        """An empty database of the same schema on the target, whose role is shut out still.

        Raises:
            ServerUnavailable: one of the two is away.
            SchemaDiffers: the tenant's schema is not what its revision makes.
        """
        here = self._manager.server_of(self.source)
        there = self._manager.server_of(self.target)
        with here.connect_as_owner(self.source.database) as original:
            revision = applying.read_version(original)
            self._make(revision)
            with there.connect_as_owner(self.target.database) as copy:
                _require_same_schema(original, copy)
                yield Copying(original, copy)

    @contextmanager
    def shut_out(self) -> Iterator[None]:
        """The role has no right and no session where it was, and no one lets it in meanwhile."""
        server = self._manager.server_of(self.source)
        with server.locked(self.source.database) as connection:
            provisioning.shut_out(connection, self._manager.installation, self.source)
            yield

    def _make(self, revision: str | None) -> None:
        server = self._manager.server_of(self.target)
        self._manager.drop_tenant_database(self.target)  # what an earlier attempt left
        with server.locked(self.target.database) as connection:
            if revision == migrations.head():
                self._manager.clone(connection, self.target)
            else:
                templates.build(server, connection, self.target.database, revision)
            self._manager.admit(connection, self.target)
            provisioning.shut_out(connection, self._manager.installation, self.target)


def _require_same_schema(original: Connection, copy: Connection) -> None:
    found = differences(read_catalog(copy), read_catalog(original))
    if found:
        raise SchemaDiffers("; ".join(each.words for each in found))
