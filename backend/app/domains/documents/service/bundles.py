"""Many documents in one ZIP archive, written while it is sent."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Final
from uuid import UUID
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from app.core.errors import NotFound
from app.domains.documents import queries
from app.domains.documents.errors import DocumentNotFound, ZipTooLarge
from app.domains.documents.service.downloads import bytes_missing, record_download
from app.domains.documents.service.names import names_for_files
from app.integrations.storage import Storage
from app.tenancy.sessions import TenantSession

_CHUNK: Final = 64 * 1024
_READABLE: Final = 0o644 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file of the archive."""

    name: str
    key: str
    size: int
    changed_at: datetime


def choose(
    session: TenantSession, *, document_ids: Sequence[UUID], max_documents: int, max_bytes: int
) -> Sequence[Entry]:
    """The documents as files of one folder, in the order of the ids; each counts as downloaded.

    Raises:
        DocumentNotFound: one of them does not exist.
        ZipTooLarge: they are too many, or too large together.
    """
    if len(document_ids) > max_documents:
        raise ZipTooLarge(f"An archive may hold {max_documents} documents.")
    found = {document.id: document for document in queries.documents(session, document_ids)}
    missing = [str(document_id) for document_id in document_ids if document_id not in found]
    if missing:
        raise DocumentNotFound("Some documents do not exist; see errors.", errors={"ids": missing})
    documents = [found[document_id] for document_id in document_ids]
    if sum(document.size for document in documents) > max_bytes:
        raise ZipTooLarge(f"An archive may hold {max_bytes} bytes.")
    for document in documents:
        record_download(session, document, version=document.version, way="zip")
    return [
        Entry(name=name, key=document.file.key, size=document.size, changed_at=document.updated_at)
        for document, name in zip(
            documents, names_for_files([each.name for each in documents]), strict=True
        )
    ]


def archive(storage: Storage, entries: Sequence[Entry]) -> Iterator[bytes]:
    """The archive's bytes. The first file is opened before anything is answered.

    Raises:
        BytesMissing, StorageUnavailable: also in the middle, where it breaks the connection off:
            a client sees that the archive is not whole.
    """
    parts = _parts(storage, entries)
    return _from_first(next(parts), parts)


def _from_first(first: bytes, others: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from others


def _parts(storage: Storage, entries: Sequence[Entry]) -> Iterator[bytes]:
    sink = _Sink()
    with ZipFile(sink, "w", ZIP_STORED) as written:  # type: ignore[call-overload]  # it only writes
        for entry in entries:
            info = ZipInfo(entry.name, date_time=entry.changed_at.timetuple()[:6])
            info.external_attr, info.file_size = _READABLE, entry.size
            with _opened(storage, entry) as source, written.open(info, "w") as target:
                while chunk := source.read(_CHUNK):
                    target.write(chunk)
                    yield sink.take()
            if info.file_size != entry.size:
                raise bytes_missing(entry.key)
    yield sink.take()


def _opened(storage: Storage, entry: Entry) -> BinaryIO:
    try:
        return storage.open(entry.key)
    except NotFound as error:
        raise bytes_missing(entry.key) from error


class _Sink:
    """What is written and not sent yet."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, part: bytes) -> int:
        self._parts.append(bytes(part))
        return len(part)

    def flush(self) -> None:
        """There is nothing behind it."""

    def take(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)
