"""A backup in the store: a few sealed objects, of which the manifest is written last.

    backups/{tenant}/{backup}/manifest      what it is, what each table holds, digests of the rest
    backups/{tenant}/{backup}/dump          pg_dump's custom format
    backups/{tenant}/{backup}/index         JSON Lines: key, digest and size of each file
    backups/{tenant}/{backup}/files/{sha256}

Without its manifest it is a backup that was never finished.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final
from uuid import UUID

from app.core.errors import NotFound
from app.core.sealed_streams import Vault
from app.domains.backups.errors import (
    BackupDamaged,
    BackupForeign,
    BackupKeysMissing,
    BackupNotFound,
    BackupTooNew,
)
from app.integrations.storage import Storage
from app.settings import Settings
from app.tenancy.contents import Content

_FORMAT: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a backup says of itself; ``digests`` are those of the plain dump and index."""

    installation: str
    tenant_id: UUID
    slug: str
    backup_id: UUID
    database: str
    taken_at: str
    revision: str
    server_major: int
    tables: dict[str, Content]
    files: int
    missing: int
    digests: dict[str, str]


@dataclass(frozen=True, slots=True)
class Archive:
    """One backup's objects, sealed for their places."""

    storage: Storage
    vault: Vault
    installation: str
    tenant_id: UUID
    backup_id: UUID

    @property
    def prefix(self) -> str:
        return f"backups/{self.tenant_id.hex}/{self.backup_id.hex}"

    def put(self, name: str, chunks: Iterable[bytes]) -> tuple[str, int]:
        """The SHA-256 of the plain bytes, and how many sealed ones are stored."""
        digest = hashlib.sha256()
        sealed = self.vault.seal(_hashed(chunks, digest), context=self._context(name))
        stored = self.storage.put(f"{self.prefix}/{name}", sealed)
        return digest.hexdigest(), stored.size

    def read(self, name: str, *, digest: str | None) -> Iterator[bytes]:
        """The plain bytes, compared with the digest at their end.

        Raises:
            BackupDamaged: they are others, or there are none.
            StreamUnreadable, KeyMissing: as `Vault.open`.
        """
        try:
            source = self.storage.open(f"{self.prefix}/{name}")
        except NotFound:
            raise BackupDamaged(f"The backup's {name} is not in the store.") from None
        found = hashlib.sha256()
        with source:
            yield from _hashed(self.vault.open(source, context=self._context(name)), found)
        if digest is not None and found.hexdigest() != digest:
            raise BackupDamaged(f"The backup's {name} is not what was put into it.")

    def write_manifest(self, manifest: Manifest) -> int:
        document = asdict(manifest) | {
            "format": _FORMAT,
            "tenant_id": str(manifest.tenant_id),
            "backup_id": str(manifest.backup_id),
        }
        return self.put("manifest", [json.dumps(document).encode()])[1]

    def read_manifest(self) -> Manifest:
        """What the backup is, if it is this tenant's.

        Raises:
            BackupNotFound: there is no such backup, or it was not taken to its end.
            BackupForeign: it is another tenant's, or of another installation.
            BackupTooNew: it is of a later format.
        """
        try:
            self.storage.stat(f"{self.prefix}/manifest")
        except NotFound:
            raise BackupNotFound("There is no such backup of this tenant.") from None
        document = json.loads(b"".join(self.read("manifest", digest=None)))
        if document.pop("format") != _FORMAT:
            raise BackupTooNew("A later version of this product took this backup.")
        manifest = _manifest(document)
        if (manifest.installation, manifest.tenant_id, manifest.backup_id) != (
            self.installation,
            self.tenant_id,
            self.backup_id,
        ):
            raise BackupForeign("This is the backup of another tenant or installation.")
        return manifest

    def index(self, manifest: Manifest) -> Iterator[dict[str, Any]]:
        """Each file of the backup, as `documents.service.files.stored` told it."""
        held = b""
        for chunk in self.read("index", digest=manifest.digests["index"]):
            *lines, held = (held + chunk).split(b"\n")
            yield from map(json.loads, lines)

    def erase(self) -> None:
        """The manifest goes first: what is left then is no backup."""
        self.storage.delete(f"{self.prefix}/manifest")
        self.storage.delete_all(self.prefix)

    def _context(self, name: str) -> str:
        return f"{self.installation}/{self.tenant_id}/{self.backup_id}/{name}"


def archive_of(
    settings: Settings, storage: Storage, *, tenant_id: UUID, backup_id: UUID
) -> Archive:
    """Where a backup is, or is going to be.

    Raises:
        BackupKeysMissing: nothing could be sealed.
    """
    if not settings.backup_key_bytes:
        raise BackupKeysMissing("Set BACKUP_KEYS: backups are sealed with it.")
    vault = Vault(settings.backup_key_bytes)
    return Archive(storage, vault, settings.installation_id, tenant_id, backup_id)


def _manifest(document: dict[str, Any]) -> Manifest:
    tables = {name: Content(**each) for name, each in document.pop("tables").items()}
    tenant_id, backup_id = (UUID(document.pop(name)) for name in ("tenant_id", "backup_id"))
    return Manifest(tenant_id=tenant_id, backup_id=backup_id, tables=tables, **document)


def _hashed(chunks: Iterable[bytes], digest: "hashlib._Hash") -> Iterator[bytes]:
    for chunk in chunks:
        digest.update(chunk)
        yield chunk
