"""What backups tell the platform's audit trail."""

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

from app.core.events import Event


@dataclass(frozen=True, kw_only=True)
class _OfBackup(Event):
    target: ClassVar[str] = "backup_id"

    backup_id: UUID
    tenant_id: UUID


@dataclass(frozen=True, kw_only=True)
class BackupRequested(_OfBackup):
    type: ClassVar[str] = "backup.requested"


@dataclass(frozen=True, kw_only=True)
class BackupProofRequested(_OfBackup):
    type: ClassVar[str] = "backup.proof_requested"


@dataclass(frozen=True, kw_only=True)
class BackupTaken(_OfBackup):
    type: ClassVar[str] = "backup.taken"

    origin: str


@dataclass(frozen=True, kw_only=True)
class BackupProven(_OfBackup):
    """It was restored into a database of its own, which was equal and is gone again."""

    type: ClassVar[str] = "backup.proven"


@dataclass(frozen=True, kw_only=True)
class BackupRestored(_OfBackup):
    """Into a database beside the tenant's; nobody uses it before it is swapped in."""

    type: ClassVar[str] = "backup.restored"

    database: str


@dataclass(frozen=True, kw_only=True)
class BackupDeleted(_OfBackup):
    """Its time was over."""

    type: ClassVar[str] = "backup.deleted"


@dataclass(frozen=True, kw_only=True)
class TenantExported(Event):
    """All of its data were written into an archive for it to take away."""

    type: ClassVar[str] = "tenant.exported"
    target: ClassVar[str] = "tenant_id"

    tenant_id: UUID


@dataclass(frozen=True, kw_only=True)
class _OfExport(Event):
    target: ClassVar[str] = "export_id"

    export_id: UUID
    tenant_id: UUID


@dataclass(frozen=True, kw_only=True)
class ExportRequested(_OfExport):
    type: ClassVar[str] = "export.requested"


@dataclass(frozen=True, kw_only=True)
class ExportLinkCreated(_OfExport):
    type: ClassVar[str] = "export.link_created"

    expires_in: int


@dataclass(frozen=True, kw_only=True)
class ExportDeleted(_OfExport):
    """Somebody deleted it before its time was over."""

    type: ClassVar[str] = "export.deleted"


@dataclass(frozen=True, kw_only=True)
class TenantImported(Event):
    """It was made of the archive of a tenant, maybe of another installation."""

    type: ClassVar[str] = "tenant.imported"
    target: ClassVar[str] = "tenant_id"

    tenant_id: UUID
    source_id: str
