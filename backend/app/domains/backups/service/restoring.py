"""Restoring beside: into a database of its own, which is inspected before anybody may swap it in.

Whatever goes wrong, the tenant's own database and files are what they were.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from app.core import clock, events
from app.core.db import platform_session
from app.core.errors import AppError
from app.domains.backups import queries
from app.domains.backups.errors import BackupDamaged, BackupNotFound, BackupTooNew
from app.domains.backups.events import BackupProven, BackupRestored
from app.domains.backups.models import Backup
from app.domains.backups.service import beside
from app.domains.backups.service.archive import Archive, Manifest, archive_of
from app.domains.backups.service.taking import Tell, claimed, entry_of
from app.domains.documents.service import stored_files
from app.domains.tenants.service import ledger
from app.integrations.storage import Storage
from app.settings import Settings
from app.tenancy import contents, dumping, templates
from app.tenancy.locations import TenantLocation
from app.tenancy.manager import TenantDatabaseManager
from app.tenancy.server import Server

_LONGEST_FAILURE: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """A database beside the tenant's, whole and inspected; ``kept_id`` is what swaps it in."""

    kept_id: UUID
    database: str
    taken_at: str
    revision: str
    tables: dict[str, int]
    files: int
    missing: int


def restore(
    manager: TenantDatabaseManager,
    storage: Storage,
    settings: Settings,
    *,
    tenant_id: UUID,
    backup_id: UUID,
    tell: Tell = lambda _done, _of, _what: None,
) -> Restored:
    """The backup as a database beside the tenant's, with the tenant's files of that moment.

    Raises:
        TenantGone, WrongState: there is no such tenant, or it has no database to lie beside.
        BackupNotFound, BackupForeign, BackupTooNew, KeyMissing, ToolsMissing: nothing was begun.
        BackupDamaged, StreamUnreadable, DumpFailed: what had been restored is gone again.
    """
    archive = archive_of(settings, storage, tenant_id=tenant_id, backup_id=backup_id)
    manifest = archive.read_manifest()
    server = manager.server_of(entry_of(tenant_id).location)
    tool = _tool(server, settings, manifest)
    filling = _Filling(server, archive, manifest, tool)

    def fill(location: TenantLocation) -> None:
        filling.rows(location.database)
        filling.files(location, tell)

    with claimed(manager, tenant_id):
        made = beside.make(
            manager,
            storage,
            settings,
            tenant_id=tenant_id,
            revision=manifest.revision,
            backup_id=backup_id,
            fill=fill,
        )
    with platform_session() as session:
        restored = BackupRestored(
            backup_id=backup_id, tenant_id=tenant_id, database=made.location.database
        )
        events.record(session, restored)
    return Restored(
        kept_id=made.kept_id,
        database=made.location.database,
        taken_at=manifest.taken_at,
        revision=made.revision,
        tables={name: each.rows for name, each in manifest.tables.items()},
        files=manifest.files,
        missing=manifest.missing,
    )


def prove(
    manager: TenantDatabaseManager,
    storage: Storage,
    settings: Settings,
    *,
    tenant_id: UUID,
    backup_id: UUID | None = None,
) -> UUID:
    """Restores the newest backup, or the one given, into a scratch database, and compares it.

    Every file is opened and hashed too. The outcome is kept with the backup; the database is gone.

    Raises:
        BackupNotFound: there is none to prove.
        AppError, DumpFailed: it cannot be restored, which is kept as well.
    """
    backup_id = backup_id or _newest(tenant_id)
    archive = archive_of(settings, storage, tenant_id=tenant_id, backup_id=backup_id)
    try:
        manifest = archive.read_manifest()
        server = manager.server_of(entry_of(tenant_id).location)
        filling = _Filling(server, archive, manifest, _tool(server, settings, manifest))
        with claimed(manager, tenant_id):
            templates.discard_scratch(server)
            with templates.scratch(server, manifest.revision) as name:
                filling.rows(name)
            for line in filling.whole_lines():
                for _ in archive.read(f"files/{line['sha256']}", digest=line["sha256"]):
                    pass
    except (AppError, dumping.DumpFailed) as error:
        _write_proof(tenant_id, backup_id, failure=f"{type(error).__name__}: {error}")
        raise
    _write_proof(tenant_id, backup_id, failure=None)
    return backup_id


class _Filling:
    """Fills an empty database of the backup's revision, and compares what came with what went."""

    def __init__(self, server: Server, archive: Archive, manifest: Manifest, tool: Any) -> None:
        self._server, self._archive, self._manifest = server, archive, manifest
        self._tool = tool

    def rows(self, database: str) -> None:
        """The rows of every table.

        Raises:
            BackupDamaged: what was loaded is not what was dumped.
        """
        server, manifest = self._server, self._manifest
        dump = self._archive.read("dump", digest=manifest.digests["dump"])
        with server.connect_as_owner(database, lock_timeout_ms=60_000) as connection:
            with contents.ready_to_fill(connection):
                dumping.load(server, database, dump, tool=self._tool)
                for _ in dump:  # what pg_restore has not read belongs to the digest all the same
                    pass
            with connection.transaction():
                loaded = contents.read_contents(connection)
        if loaded != manifest.tables:
            wrong = {name for name in loaded if loaded[name] != manifest.tables.get(name)}
            wrong |= manifest.tables.keys() - loaded.keys()
            raise BackupDamaged(f"Restored, these tables differ: {', '.join(sorted(wrong))}.")

    def files(self, location: TenantLocation, tell: Tell) -> None:
        """The files under the database's own name, and the rows that name them."""
        source, target = self._manifest.database, location.database
        for done, line in enumerate(self.whole_lines(), start=1):
            chunks = self._archive.read(f"files/{line['sha256']}", digest=line["sha256"])
            key = stored_files.moved(line["key"], source=source, target=target)
            self._archive.storage.put(key, chunks)
            tell(done, self._manifest.files, "files")
        with self._server.connect_as_owner(target) as connection:
            stored_files.move_keys(connection, source=source, target=target)

    def whole_lines(self) -> Iterator[dict[str, Any]]:
        """The files that the backup holds: some may have been missing when it was taken."""
        for line in self._archive.index(self._manifest):
            if not line.get("missing"):
                yield line


def _tool(server: Server, settings: Settings, manifest: Manifest) -> Any:
    """The program that restores the backup.

    Raises:
        BackupTooNew: code or server are older than those that took the backup.
    """
    beside.require_known(manifest.revision)
    with server.connect_as_provisioner() as connection:
        major = dumping.major_version(connection)
    if major < manifest.server_major:
        raise BackupTooNew(
            f"PostgreSQL {manifest.server_major} wrote it, and this server has {major}."
        )
    return dumping.find_tool("pg_restore", major, settings.postgres_tools)


def _newest(tenant_id: UUID) -> UUID:
    with platform_session() as session:
        backup = queries.newest(session, tenant_id)
    if backup is None:
        raise BackupNotFound("There is no backup of this tenant.")
    return backup.id


def _write_proof(tenant_id: UUID, backup_id: UUID, *, failure: str | None) -> None:
    with platform_session() as session:
        backup = session.get(Backup, backup_id)
        if backup is not None:
            backup.proof_failure = None if failure is None else failure[:_LONGEST_FAILURE]
        if failure is None:
            if backup is not None:
                backup.proven_at = clock.now()
            ledger.write_backup_times(session, tenant_id, proven_at=clock.now())
            events.record(session, BackupProven(backup_id=backup_id, tenant_id=tenant_id))
