"""What happens to documents; each is in the tenant's audit trail."""

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

from app.core.events import Event


@dataclass(frozen=True, kw_only=True)
class _DocumentEvent(Event):
    target: ClassVar[str] = "document_id"
    withheld: ClassVar[frozenset[str]] = frozenset({"name", "digest"})

    document_id: UUID
    name: str


@dataclass(frozen=True, kw_only=True)
class _UploadEvent(Event):
    target: ClassVar[str] = "upload_id"

    upload_id: UUID
    name: str


@dataclass(frozen=True, kw_only=True)
class UploadReserved(_UploadEvent):
    """Room was taken for bytes that go straight to the store; ``size`` was announced."""

    type: ClassVar[str] = "document.upload_reserved"

    size: int


@dataclass(frozen=True, kw_only=True)
class UploadAborted(_UploadEvent):
    """It was given up; what had arrived is erased, and the room is free again."""

    type: ClassVar[str] = "document.upload_aborted"


@dataclass(frozen=True, kw_only=True)
class QuotaChanged(Event):
    """``changes`` maps each limit that changed to its former and its new value."""

    type: ClassVar[str] = "tenant.quota_changed"
    target: ClassVar[str] = "tenant_id"

    tenant_id: UUID
    changes: dict[str, list[int | None]]


@dataclass(frozen=True, kw_only=True)
class DocumentUploaded(_DocumentEvent):
    type: ClassVar[str] = "document.uploaded"
    public_version = 1

    size: int
    digest: str


@dataclass(frozen=True, kw_only=True)
class DocumentUpdated(_DocumentEvent):
    """``changes`` maps each changed property to its former and its new value."""

    type: ClassVar[str] = "document.updated"

    changes: dict[str, list[object]]


@dataclass(frozen=True, kw_only=True)
class DocumentDeleted(_DocumentEvent):
    """It went to the trash."""

    type: ClassVar[str] = "document.deleted"
    public_version = 1

    owner_id: UUID


@dataclass(frozen=True, kw_only=True)
class DocumentRestored(_DocumentEvent):
    """It came back from the trash."""

    type: ClassVar[str] = "document.restored"
    public_version = 1


@dataclass(frozen=True, kw_only=True)
class DocumentPurged(_DocumentEvent):
    """It is gone for good, with all of its versions."""

    type: ClassVar[str] = "document.purged"
    public_version = 1


@dataclass(frozen=True, kw_only=True)
class VersionAdded(_DocumentEvent):
    """``restored_from`` is the number of the former version that became the newest again."""

    type: ClassVar[str] = "document.version_added"
    public_version = 1

    owner_id: UUID
    version: int
    size: int
    digest: str
    restored_from: int | None = None


@dataclass(frozen=True, kw_only=True)
class DocumentDownloaded(_DocumentEvent):
    """``way`` is "direct", "zip" or "link"; a part of the bytes counts as well."""

    type: ClassVar[str] = "document.downloaded"

    version: int
    way: str


@dataclass(frozen=True, kw_only=True)
class LinkCreated(_DocumentEvent):
    """``expires_in`` in seconds."""

    type: ClassVar[str] = "document.link_created"
    public_version = 1

    owner_id: UUID
    expires_in: int


@dataclass(frozen=True, kw_only=True)
class FileProcess(Event):
    """A new file is there, to be looked into: a request more than a report."""

    type: ClassVar[str] = "file.process"
    target: ClassVar[str] = "file_id"
    topic: ClassVar[str] = "files"
    public_version = 1
    audited = False

    file_id: UUID
    size: int


@dataclass(frozen=True, kw_only=True)
class FileProcessed(Event):
    """A file was looked into; ``outcome`` is processed, unsupported or failed.

    ``reason`` says why there is no text. ``document_ids`` are documents that hold it now, a hundred
    at most.
    """

    type: ClassVar[str] = "file.processed"
    target: ClassVar[str] = "file_id"
    topic: ClassVar[str] = "files"
    public_version = 1

    file_id: UUID
    outcome: str
    reason: str | None
    detected_type: str | None
    document_ids: list[UUID]
