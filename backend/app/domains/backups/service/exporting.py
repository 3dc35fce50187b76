"""A tenant's data as the tenant may take them away: an open archive that needs none of our code.

    manifest.json         what it is; rows, bytes and SHA-256 of each other entry
    members.jsonl         who belongs to the tenant: the ids in other tables mean these people
    tables/{table}.jsonl  one row a line, as PostgreSQL's to_jsonb writes it
    files/{sha256}        the bytes of each file; tables/files.jsonl says which row has which digest

Everything but the members is of one moment. The manifest is the last entry.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final
from uuid import UUID
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

import orjson
from psycopg import IsolationLevel, sql

from app.core import clock, events
from app.core.db import platform_session
from app.core.errors import NotFound
from app.core.ids import new_id
from app.domains.backups.errors import BackupDamaged
from app.domains.backups.events import TenantExported
from app.domains.backups.service.taking import Tell, entry_of
from app.domains.documents.service import stored_files
from app.domains.tenants.service import members
from app.domains.tenants.service.ledger import FleetEntry
from app.integrations.storage import Storage
from app.integrations.storage.hashing import chunks_of
from app.tenancy import contents
from app.tenancy.manager import TenantDatabaseManager
from app.tenancy.migrations import applying
from app.tenancy.server import Connection

_FORMAT: Final = 1
_PAGE: Final = 1000
# What processes of this installation are in the middle of.
_MACHINERY: Final = frozenset({"outbox", "inbox", "idempotency_keys"})


def export(
    manager: TenantDatabaseManager,
    storage: Storage,
    *,
    tenant_id: UUID,
    path: Path,
    tell: Tell = lambda _done, _of, _what: None,
) -> dict[str, Any]:
    """Writes the archive, which appears whole or not at all; returns its manifest.

    Raises:
        TenantGone: there is no such tenant, or it has no database.
        StorageUnavailable, BackupDamaged: a file cannot be read, or is not what was stored.
        OSError: there is no room at the path.
    """
    entry = entry_of(tenant_id)
    part = path.with_name(f"{path.name}.{new_id().hex}.part")
    try:
        with ZipFile(part, "x", ZIP_DEFLATED) as archive:
            manifest = _Export(archive, storage, entry, tell).write(manager)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    with platform_session() as session:
        events.record(session, TenantExported(tenant_id=tenant_id))
    return manifest


class _Export:
    def __init__(self, archive: ZipFile, storage: Storage, entry: FleetEntry, tell: Tell) -> None:
        self._archive, self._storage, self._entry, self._tell = archive, storage, entry, tell
        self._entries: dict[str, dict[str, Any]] = {}
        self._missing: list[str] = []

    def write(self, manager: TenantDatabaseManager) -> dict[str, Any]:
        database = self._entry.location.database
        server = manager.server_of(self._entry.location)
        with server.connect_as_owner(database, lock_timeout_ms=60_000) as connection:
            stored_files.hold_erasure(connection)
            connection.isolation_level, connection.read_only = IsolationLevel.REPEATABLE_READ, True
            with connection.transaction():
                revision, taken_at = applying.read_version(connection), clock.now()
                for table in contents.tables(connection):
                    if table in _MACHINERY:
                        continue
                    self._lines(f"tables/{table}.jsonl", _rows(connection, table))
                self._files(connection)
        self._lines("members.jsonl", _members(self._entry.tenant_id))
        manifest = {
            "format": _FORMAT,
            "tenant_id": str(self._entry.tenant_id),
            "slug": self._entry.slug,
            "revision": revision,
            "taken_at": taken_at.isoformat(),
            "entries": self._entries,
            "missing_files": self._missing,
        }
        self._archive.writestr("manifest.json", json.dumps(manifest, indent=2) + "\n")
        return manifest

    def _lines(self, name: str, lines: Iterable[str]) -> None:
        rows = 0

        def counted() -> Iterator[bytes]:
            nonlocal rows
            for rows, line in enumerate(lines, start=1):  # noqa: B007  # the last number counts
                yield line.encode() + b"\n"

        self._write(ZipInfo(name), counted(), ZIP_DEFLATED)
        self._entries[name]["rows"] = rows

    def _files(self, connection: Connection) -> None:
        total = stored_files.count(connection)
        for done, file in enumerate(stored_files.stored(connection), start=1):
            try:
                source = self._storage.open(file.key)
            except NotFound:
                self._missing.append(file.sha256)
                continue
            name = f"files/{file.sha256}"
            with source:
                self._write(ZipInfo(name), chunks_of(source), ZIP_STORED)
            if self._entries[name]["sha256"] != file.sha256:
                raise BackupDamaged(f"The bytes at {file.key} are not those that were stored.")
            self._tell(done, total, "files")

    def _write(self, info: ZipInfo, chunks: Iterable[bytes], compression: int) -> None:
        info.compress_type, info.date_time = compression, clock.now().timetuple()[:6]
        info.external_attr = 0o600 << 16
        digest, size = hashlib.sha256(), 0
        with self._archive.open(info, "w", force_zip64=True) as target:
            for chunk in chunks:
                digest.update(chunk)
                size += len(chunk)
                target.write(chunk)
        self._entries[info.filename] = {"bytes": size, "sha256": digest.hexdigest()}


def _rows(connection: Connection, table: str) -> Iterator[str]:
    """Without sealed columns: only this installation could open them."""
    sealed = connection.execute(
        """
        SELECT attname::text FROM pg_attribute
        WHERE attrelid = %s::regclass AND attname LIKE %s AND NOT attisdropped
        """,
        (sql.Identifier("public", table).as_string(), r"sealed\_%"),
    ).fetchall()
    query = sql.SQL("SELECT (to_jsonb(t) - {}::text[])::text FROM {} t").format(
        sql.Literal([name for (name,) in sealed]), sql.Identifier("public", table)
    )
    with connection.cursor(name="exported_rows") as cursor:
        cursor.itersize = _PAGE
        cursor.execute(query)
        for (row,) in cursor:
            yield row


def _members(tenant_id: UUID) -> Iterator[str]:
    with platform_session() as session:
        for member in members.all_members(session, tenant_id):
            yield orjson.dumps(member).decode()
