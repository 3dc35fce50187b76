"""Taking a backup: one snapshot of the database, and the bytes of every file that it knows."""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final
from uuid import UUID

from psycopg import IsolationLevel

from app.core import clock, events, ids
from app.core.db import platform_session
from app.core.errors import NotFound
from app.core.tasks import TenantGone
from app.domains.backups import queries
from app.domains.backups.errors import BackupDamaged, BackupInProgress
from app.domains.backups.events import BackupTaken
from app.domains.backups.models import Backup, BackupState
from app.domains.backups.service.archive import Archive, Manifest, archive_of
from app.domains.documents.service import stored_files
from app.domains.documents.service.stored_files import StoredFile
from app.domains.tenants.service import kept, ledger
from app.domains.tenants.service.ledger import FleetEntry
from app.integrations.storage import Storage
from app.integrations.storage.hashing import chunks_of
from app.settings import Settings
from app.tenancy import dumping
from app.tenancy.contents import read_contents
from app.tenancy.manager import TenantDatabaseManager
from app.tenancy.migrations import applying
from app.tenancy.server import AlreadyClaimed, Connection

logger = logging.getLogger(__name__)

Tell = Callable[[int, int, str], None]
_LONGEST_FAILURE: Final = 500


def take(
    manager: TenantDatabaseManager,
    storage: Storage,
    settings: Settings,
    *,
    tenant_id: UUID,
    backup_id: UUID | None = None,
    scheduled: bool = False,
    tell: Tell = lambda _done, _of, _what: None,
) -> UUID:
    """A backup of the tenant as it is at one moment, while it is used; returns its id.

    ``backup_id`` is of one that was ordered. ``tell`` gets how many of how many files are done.

    Raises:
        TenantGone: there is no such tenant, or it has no database.
        BackupKeysMissing, BackupInProgress, ToolsMissing: nothing was begun.
        AppError, DumpFailed: it is marked as failed, and nothing of it is left in the store.
    """
    entry = entry_of(tenant_id)
    backup_id = backup_id or ids.new_id()
    archive = archive_of(settings, storage, tenant_id=tenant_id, backup_id=backup_id)
    with claimed(manager, tenant_id):
        tidy(manager, storage, settings, tenant_id=tenant_id)
        _begin(archive, scheduled=scheduled)
        try:
            manifest, size = _write(manager, settings, archive, entry, tell)
        except BaseException as error:
            _fail(archive, error)
            raise
        _complete(archive, manifest, size)
    return archive.backup_id


@contextmanager
def claimed(manager: TenantDatabaseManager, tenant_id: UUID) -> Iterator[None]:
    """The right to back up or restore the tenant, which ends with this process.

    Raises:
        BackupInProgress: another process has it.
    """
    claim = manager.server.claimed(manager.installation.id, "backup", tenant_id.hex)
    with ExitStack() as stack:
        try:
            stack.enter_context(claim)
        except AlreadyClaimed:
            raise BackupInProgress("This tenant is being backed up or restored.") from None
        yield


def tidy(
    manager: TenantDatabaseManager, storage: Storage, settings: Settings, *, tenant_id: UUID
) -> int:
    """Clears away what processes left that died at this tenant. Needs `claimed`."""
    with platform_session() as session:
        dead = [backup.id for backup in queries.running(session, tenant_id)]
        half = [row.id for row in kept.rows_of(session, tenant_id) if row.schema_revision is None]
    for backup_id in dead:
        archive = archive_of(settings, storage, tenant_id=tenant_id, backup_id=backup_id)
        _fail(archive, RuntimeError("its process did not come back"))
    for kept_id in half:
        kept.drop(manager, storage, tenant_id=tenant_id, kept_id=kept_id)
    return len(dead) + len(half)


def entry_of(tenant_id: UUID) -> FleetEntry:
    with platform_session() as session:
        entries = ledger.with_database(session, tenant_ids=[tenant_id])
    if not entries:
        raise TenantGone("There is no such tenant, or it has no database.")
    return entries[0]


def _write(
    manager: TenantDatabaseManager,
    settings: Settings,
    archive: Archive,
    entry: FleetEntry,
    tell: Tell,
) -> tuple[Manifest, int]:
    """Everything but the row. The snapshot's transaction stays open until the dump has ended."""
    database = entry.location.database
    with manager.server_of(entry.location).connect_as_owner(
        database, lock_timeout_ms=60_000
    ) as connection:
        # First: what is erased from now on, the snapshot does not know.
        stored_files.hold_erasure(connection)
        major = dumping.major_version(connection)
        tool = dumping.find_tool("pg_dump", major, settings.postgres_tools)
        connection.isolation_level, connection.read_only = IsolationLevel.REPEATABLE_READ, True
        with connection.transaction():
            revision = applying.read_version(connection)
            if revision is None:
                raise NotFound("This tenant's database holds no schema.")
            taken_at, tables = clock.now().isoformat(), read_contents(connection)
            tell(0, 0, "rows")
            snapshot = _exported(connection)
            dump = dumping.dump(
                manager.server_of(entry.location), database, snapshot=snapshot, tool=tool
            )
            dump_digest, size = archive.put("dump", dump)
            files = _Files(archive, connection, tell)
            index_digest, index_size = archive.put("index", files.lines())
    manifest = Manifest(
        installation=archive.installation,
        tenant_id=archive.tenant_id,
        slug=entry.slug,
        backup_id=archive.backup_id,
        database=database,
        taken_at=taken_at,
        revision=revision,
        server_major=major,
        tables=tables,
        files=files.done,
        missing=files.missing,
        digests={"dump": dump_digest, "index": index_digest},
    )
    return manifest, size + index_size + files.size + archive.write_manifest(manifest)


class _Files:
    """Copies the files of a snapshot, and tells of each in a line of the index."""

    def __init__(self, archive: Archive, connection: Connection, tell: Tell) -> None:
        self._archive, self._connection, self._tell = archive, connection, tell
        self.done = self.missing = self.size = 0

    def lines(self) -> Iterator[bytes]:
        total = stored_files.count(self._connection)
        for file in stored_files.stored(self._connection):
            line: dict[str, Any] = {"key": file.key, "sha256": file.sha256, "size": file.size}
            if not self._copy(file):
                line["missing"] = True
            yield json.dumps(line).encode() + b"\n"
            self._tell(self.done + self.missing, total, "files")

    def _copy(self, file: StoredFile) -> bool:
        """False where the bytes are gone: that was so before, and is no reason for no backup."""
        try:
            source = self._archive.storage.open(file.key)
        except NotFound:
            logger.warning("a file's bytes are missing", extra={"key": file.key})
            self.missing += 1
            return False
        with source:
            digest, size = self._archive.put(f"files/{file.sha256}", chunks_of(source))
        if digest != file.sha256:
            raise BackupDamaged(f"The bytes at {file.key} are not those that were stored there.")
        self.done, self.size = self.done + 1, self.size + size
        return True


def _exported(connection: Connection) -> str:
    row = connection.execute("SELECT pg_export_snapshot()").fetchone()
    if row is None:
        raise RuntimeError("the server gave no snapshot")
    return str(row[0])


def _begin(archive: Archive, *, scheduled: bool) -> None:
    origin = "scheduled" if scheduled else "asked"
    with platform_session() as session:
        ordered = session.get(Backup, archive.backup_id)
        if ordered is None:
            session.add(Backup(id=archive.backup_id, tenant_id=archive.tenant_id, origin=origin))
        else:  # also by a job that is tried again
            ordered.state, ordered.failure, ordered.finished_at = BackupState.RUNNING, None, None


def _complete(archive: Archive, manifest: Manifest, size: int) -> None:
    with platform_session() as session:
        backup = session.get(Backup, archive.backup_id)
        if backup is None:
            raise RuntimeError("the backup's row is gone")
        backup.state, backup.finished_at = BackupState.COMPLETE, clock.now()
        backup.revision, backup.bytes = manifest.revision, size
        backup.rows = sum(each.rows for each in manifest.tables.values())
        backup.files = manifest.files
        ledger.write_backup_times(session, archive.tenant_id, backed_up_at=backup.created_at)
        taken = BackupTaken(backup_id=backup.id, tenant_id=archive.tenant_id, origin=backup.origin)
        events.record(session, taken)


def _fail(archive: Archive, error: BaseException) -> None:
    """Nothing of it stays in the store; where the store is away, the next tidying sees to it."""
    archive.erase()
    with platform_session() as session:
        backup = session.get(Backup, archive.backup_id)
        if backup is not None:
            backup.state, backup.finished_at = BackupState.FAILED, clock.now()
            backup.failure = f"{type(error).__name__}: {error}"[:_LONGEST_FAILURE]
