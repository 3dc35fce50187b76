"""A tenant made of an archive that `exporting` wrote, in this installation or in another.

The archive is read twice: once to see that it is whole, once to load it. Its people are known by
their addresses; those who have an account here are the same people, and rows that name them do so
here too. Nobody becomes a member unasked: an owner is named, the others can be invited.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID
from zipfile import BadZipFile, ZipFile

from psycopg import sql

from app.core import events, ids
from app.core.caller import Caller
from app.core.db import main_session, platform_session
from app.core.errors import AppError
from app.domains.backups.errors import ArchiveDamaged, BackupTooNew
from app.domains.backups.events import TenantImported
from app.domains.backups.service import beside
from app.domains.backups.service.taking import Tell, claimed
from app.domains.documents.service import stored_files
from app.domains.identity.service import users
from app.domains.tenants.service import deletion, invitations, lifecycle
from app.integrations.storage import Storage
from app.integrations.storage.hashing import chunks_of
from app.settings import Settings
from app.tenancy import contents, copying
from app.tenancy.copying import Table
from app.tenancy.locations import TenantLocation
from app.tenancy.manager import TenantDatabaseManager
from app.tenancy.server import Connection

_FORMAT: Final = 1
_ROWS: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """``missing`` counts files whose bytes the archive does not have."""

    tenant_id: UUID
    rows: int
    files: int
    missing: int
    invited: int


def import_archive(
    manager: TenantDatabaseManager,
    storage: Storage,
    settings: Settings,
    *,
    path: Path,
    slug: str,
    name: str,
    owner_id: UUID,
    invite: bool = False,
    tell: Tell = lambda _done, _of, _what: None,
) -> Imported:
    """A new tenant with all that the archive holds; where that fails, there is none.

    Raises:
        ArchiveDamaged: it is not an archive of ours, or not whole.
        BackupTooNew: its schema is one that this code does not know.
        SlugTaken, EmailUnverified, NoServerFree: as `lifecycle.register`.
    """
    try:
        with ZipFile(path) as archive:
            manifest = _checked(archive)
            tenant_id = lifecycle.register(manager, name=name, slug=slug, owner_id=owner_id)
            try:
                lifecycle.provision(manager, tenant_id=tenant_id)
                loading = _Loading(manager, storage, archive, manifest, tell)
                with claimed(manager, tenant_id):
                    made = beside.make(
                        manager,
                        storage,
                        settings,
                        tenant_id=tenant_id,
                        revision=manifest["revision"],
                        fill=loading.fill,
                    )
                    beside.put_in_place(manager, storage, made, tenant_id=tenant_id)
            except BaseException:
                deletion.purge(manager, storage, tenant_id=tenant_id)
                raise
    except (BadZipFile, KeyError, ValueError, EOFError) as error:
        raise ArchiveDamaged(f"This is no archive of a tenant, or no whole one: {error}") from None
    invited = 0
    if invite:
        invited = _invite(settings, loading.people, tenant_id=tenant_id, owner_id=owner_id)
    with platform_session() as session:
        events.record(session, TenantImported(tenant_id=tenant_id, source_id=manifest["tenant_id"]))
    return Imported(
        tenant_id=tenant_id,
        rows=loading.rows,
        files=loading.files,
        missing=loading.missing,
        invited=invited,
    )


def _checked(archive: ZipFile) -> dict[str, Any]:
    """The manifest of an archive each entry of which is what it says."""
    manifest: dict[str, Any] = json.loads(archive.read("manifest.json"))
    if manifest["format"] != _FORMAT:
        raise BackupTooNew("A later version of this product wrote this archive.")
    beside.require_known(manifest["revision"])
    for name, told in manifest["entries"].items():
        digest = hashlib.sha256()
        for chunk in _chunks(archive, name):
            digest.update(chunk)
        if digest.hexdigest() != told["sha256"]:
            raise ArchiveDamaged(f"The entry {name} is not what was put into the archive.")
    return manifest


class _Loading:
    """Puts what the archive holds into an empty database of its revision, and counts."""

    def __init__(
        self,
        manager: TenantDatabaseManager,
        storage: Storage,
        archive: ZipFile,
        manifest: Mapping[str, Any],
        tell: Tell,
    ) -> None:
        self._manager, self._storage, self._tell = manager, storage, tell
        self._archive, self._entries = archive, manifest["entries"]
        self.people = [json.loads(line) for line in _lines(archive, "members.jsonl")]
        self._ids = dict(_known(self.people))
        self.rows = self.files = self.missing = 0

    def fill(self, location: TenantLocation) -> None:
        with self._manager.server_of(location).connect_as_owner(location.database) as connection:
            tables = [each for each in copying.tables(connection) if beside.is_carried(each.name)]
            with contents.ready_to_fill(connection, [table.name for table in tables]):
                for table in tables:
                    self._load(connection, table)
            self._bring_files(connection, location.database)

    def _load(self, connection: Connection, table: Table) -> None:
        insert = sql.SQL(
            "INSERT INTO {table} ({columns})"
            " SELECT {columns} FROM jsonb_populate_recordset(NULL::{table}, %s::jsonb)"
        ).format(table=table.identifier, columns=table.written)
        loaded = 0
        with connection.transaction():
            for rows in self._batches(f"tables/{table.name}.jsonl"):
                loaded += connection.execute(insert, (f"[{','.join(rows)}]",)).rowcount
        if loaded != self._entries[f"tables/{table.name}.jsonl"]["rows"]:
            raise ArchiveDamaged(f"Of table {table.name}, {loaded} rows could be read.")
        self.rows += loaded

    def _batches(self, name: str) -> Iterator[list[str]]:
        batch: list[str] = []
        for line in _lines(self._archive, name):
            batch.append(self._here(line))
            if len(batch) == _ROWS:
                yield batch
                batch = []
        if batch:
            yield batch

    def _here(self, line: str) -> str:
        """The row with the ids that its people have here; no two things share a UUID."""
        for there, here in self._ids.items():
            line = line.replace(there, here)
        return line

    def _bring_files(self, connection: Connection, database: str) -> None:
        with connection.transaction():
            total = stored_files.count(connection)
            if not stored_files.take_over(connection, target=database):
                raise ArchiveDamaged("Its files are of several tenants.")
            for done, file in enumerate(stored_files.stored(connection), start=1):
                name = f"files/{file.sha256}"
                if name in self._entries:
                    self._storage.put(file.key, _chunks(self._archive, name))
                    self.files += 1
                else:
                    self.missing += 1
                self._tell(done, total, "files")


def _known(people: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """The ids there and here of those who have an account here under another id."""
    with platform_session() as session:
        for person in people:
            there = str(UUID(person["user_id"]))
            user = users.find_by_email(session, person["email"])
            if user is not None and str(user.id) != there:
                yield there, str(user.id)


def _invite(
    settings: Settings, people: list[dict[str, Any]], *, tenant_id: UUID, owner_id: UUID
) -> int:
    caller = Caller(
        user_id=owner_id,
        session_id=ids.new_id(),
        tenant_id=tenant_id,
        role="owner",
        permissions=frozenset(),
        location=None,
    )
    invited = 0
    for person in people:
        with main_session(user_id=owner_id, tenant_id=tenant_id) as session:
            owner = users.get_user(session, owner_id)
            if person["email"] == owner.email:
                continue
            try:
                invitations.invite(
                    session,
                    settings,
                    caller=caller,
                    tenant_id=tenant_id,
                    email=person["email"],
                    role=person["role"],
                )
            except AppError:
                continue
            invited += 1
    return invited


def _lines(archive: ZipFile, name: str) -> Iterator[str]:
    with archive.open(name) as source:
        for line in source:
            yield line.decode().rstrip("\n")


def _chunks(archive: ZipFile, name: str) -> Iterator[bytes]:
    with archive.open(name) as source:
        yield from chunks_of(source)
