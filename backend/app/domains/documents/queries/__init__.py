"""Reads of documents and files, and the locks that changes take.

Whoever takes several locks takes them in this order: `lock_files`, documents by their ids, files,
and last the quota's row, which the triggers take.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import delete, exists, func, literal_column, or_, select, text
from sqlalchemy.dialects.postgresql import REGCONFIG, insert

from app.domains.documents.models import (
    Document,
    DocumentVersion,
    File,
    FileState,
    FileText,
    Processing,
    Quota,
    Upload,
)
from app.tenancy.sessions import TenantSession

# Words as they are written: a tenant's documents are in many languages, and stemming for one of
# them loses words of the others.
CONFIGURATION: Final = literal_column("'simple'::regconfig", REGCONFIG)

_LOCK_FILES: Final = text("SELECT pg_advisory_xact_lock(hashtext('documents.files'))")
# The newest version of a document is among its versions.
_IS_HELD: Final = exists().where(DocumentVersion.file_id == File.id)


def lock_files(session: TenantSession) -> None:
    """One change at a time of which documents share which files, until the transaction ends.

    Without it the last document of a file could go while another comes to share it.
    """
    session.execute(_LOCK_FILES)


# Documents.


def document(session: TenantSession, document_id: UUID) -> Document | None:
    """One that is not in the trash."""
    found = session.get(Document, document_id, populate_existing=True)
    return None if found is None or found.deleted_at is not None else found


def documents(session: TenantSession, document_ids: Sequence[UUID]) -> Sequence[Document]:
    """Those that are not in the trash, in no order."""
    return session.scalars(
        select(Document).where(Document.id.in_(document_ids), Document.deleted_at.is_(None))
    ).all()


def document_for_change(session: TenantSession, document_id: UUID) -> Document | None:
    """One that is not in the trash, locked until the transaction ends."""
    found = _locked(session, document_id)
    return None if found is None or found.deleted_at is not None else found


def trashed_for_change(session: TenantSession, document_id: UUID) -> Document | None:
    """One that is in the trash, locked until the transaction ends."""
    found = _locked(session, document_id)
    return None if found is None or found.deleted_at is None else found


def _locked(session: TenantSession, document_id: UUID) -> Document | None:
    """Of two that delete it, one finds it."""
    return session.get(
        Document, document_id, with_for_update={"of": Document}, populate_existing=True
    )


def trashed(
    session: TenantSession,
    *,
    owner_id: UUID | None,
    after: tuple[datetime, UUID] | None,
    limit: int,
) -> Sequence[Document]:
    """What lies in the trash, of one owner or of all, the last deleted first."""
    statement = (
        select(Document)
        .where(Document.deleted_at.is_not(None))
        .order_by(Document.deleted_at.desc(), Document.id.desc())
        .limit(limit)
    )
    if owner_id is not None:
        statement = statement.where(Document.owner_id == owner_id)
    if after is not None:
        deleted_at, document_id = after
        statement = statement.where(
            or_(
                Document.deleted_at < deleted_at,
                (Document.deleted_at == deleted_at) & (Document.id < document_id),
            )
        )
    return session.scalars(statement).all()


def trashed_to_purge(
    session: TenantSession, *, owner_id: UUID | None, before: datetime, limit: int
) -> Sequence[Document]:
    """Deleted before that time, locked; those that another transaction holds are left out."""
    statement = (
        select(Document)
        .where(Document.deleted_at < before)
        .order_by(Document.id)
        .limit(limit)
        .with_for_update(of=Document, skip_locked=True)
    )
    if owner_id is not None:
        statement = statement.where(Document.owner_id == owner_id)
    return session.scalars(statement).all()


# Versions.


def version(session: TenantSession, document_id: UUID, number: int) -> DocumentVersion | None:
    return session.get(DocumentVersion, (document_id, number))


def versions(
    session: TenantSession, document_id: UUID, *, before: int | None, limit: int
) -> Sequence[DocumentVersion]:
    """The newest first, at most ``limit``, older than the number given."""
    statement = (
        select(DocumentVersion)
        .where(DocumentVersion.document_id == document_id)
        .order_by(DocumentVersion.number.desc())
        .limit(limit)
    )
    if before is not None:
        statement = statement.where(DocumentVersion.number < before)
    return session.scalars(statement).all()


def versions_up_to(
    session: TenantSession, document_id: UUID, number: int
) -> Sequence[DocumentVersion]:
    return session.scalars(
        select(DocumentVersion).where(
            DocumentVersion.document_id == document_id, DocumentVersion.number <= number
        )
    ).all()


# Files.


def available_file(session: TenantSession, digest: str) -> File | None:
    """The file with this content."""
    return session.scalar(
        select(File).where(File.digest == digest, File.state == FileState.AVAILABLE)
    )


def file_for_change(session: TenantSession, file_id: UUID) -> File | None:
    return session.get(File, file_id, with_for_update=True, populate_existing=True)


def files_of(session: TenantSession, document_ids: Sequence[UUID]) -> Sequence[UUID]:
    """All files that any version of these documents holds."""
    return session.scalars(
        select(DocumentVersion.file_id)
        .where(DocumentVersion.document_id.in_(document_ids))
        .distinct()
    ).all()


def unused_files(session: TenantSession, file_ids: Sequence[UUID]) -> Sequence[File]:
    """Those of them that no version of any document holds any more."""
    return session.scalars(select(File).where(File.id.in_(file_ids), ~_IS_HELD)).all()


def is_held(session: TenantSession, file_id: UUID) -> bool:
    return bool(session.scalar(select(_IS_HELD).where(File.id == file_id)))


def version_behind(
    session: TenantSession, key: str, *, document_id: UUID
) -> DocumentVersion | None:
    """The document's newest that holds the file of this key; None for one in the trash."""
    return session.scalar(
        select(DocumentVersion)
        .join(Document, Document.id == DocumentVersion.document_id)
        .where(
            Document.id == document_id,
            DocumentVersion.file_id == select(File.id).where(File.key == key).scalar_subquery(),
            Document.deleted_at.is_(None),
        )
        .order_by(DocumentVersion.number.desc())
        .limit(1)
    )


def abandoned_files(session: TenantSession, *, before: datetime) -> Sequence[UUID]:
    """Files that lost their upload, or whose bytes wait to be deleted, untouched since then."""
    return session.scalars(
        select(File.id).where(File.state != FileState.AVAILABLE, File.updated_at < before)
    ).all()


def file_keys(session: TenantSession, *, after: str, limit: int) -> Sequence[str]:
    """In the order of their bytes, which is the store's."""
    statement = select(File.key).where(File.key > after).order_by(File.key).limit(limit)
    return session.scalars(statement).all()


def file_by_key(session: TenantSession, key: str) -> File | None:
    return session.scalar(select(File).where(File.key == key))


# What files hold.


def file(session: TenantSession, file_id: UUID) -> File | None:
    return session.get(File, file_id)


def documents_with(session: TenantSession, file_id: UUID, *, limit: int) -> Sequence[UUID]:
    """Those that hold the file now, in the trash or not."""
    return session.scalars(
        select(Document.id).where(Document.file_id == file_id).order_by(Document.id).limit(limit)
    ).all()


def write_text(session: TenantSession, file_id: UUID, *, content: str, words: str) -> None:
    """``words`` is the text as it is searched."""
    values = {"text": content, "words": func.to_tsvector(CONFIGURATION, words)}
    statement = insert(FileText).values(file_id=file_id, **values)
    session.execute(statement.on_conflict_do_update(index_elements=[FileText.file_id], set_=values))


def drop_text(session: TenantSession, file_id: UUID) -> None:
    session.execute(delete(FileText).where(FileText.file_id == file_id))


def files_in(
    session: TenantSession, states: Sequence[Processing], *, after: UUID | None, limit: int
) -> Sequence[File]:
    """Available ones that are so far, locked, in the order of their ids."""
    statement = (
        select(File)
        .where(File.state == FileState.AVAILABLE, File.processing.in_(states))
        .order_by(File.id)
        .limit(limit)
        .with_for_update()
    )
    if after is not None:
        statement = statement.where(File.id > after)
    return session.scalars(statement).all()


# The quota.


def quota(session: TenantSession) -> Quota:
    return session.scalars(select(Quota).execution_options(populate_existing=True)).one()


def quota_for_change(session: TenantSession) -> Quota:
    return session.scalars(select(Quota).with_for_update()).one()


def count_trash(session: TenantSession) -> int:
    return session.scalar(select(func.count()).where(Document.deleted_at.is_not(None))) or 0


def count_versions(session: TenantSession) -> tuple[int, int]:
    """How many versions there are, and the bytes of them all, shared or not."""
    statement = select(func.count(), func.coalesce(func.sum(File.size), 0)).join_from(
        DocumentVersion, File
    )
    number, size = session.execute(statement).one()
    return number, int(size or 0)


def is_arriving(session: TenantSession, file_id: UUID | None) -> bool:
    """Whether bytes may still lie, or be sent, where this file's arrive."""
    pending = select(File.id).where(File.id == file_id, File.state == FileState.PENDING)
    waiting = select(Upload.id).where(Upload.id == file_id)
    return bool(session.scalar(select(pending.exists() | waiting.exists())))


# Direct uploads.


def upload(session: TenantSession, upload_id: UUID) -> Upload | None:
    return session.get(Upload, upload_id)


def upload_for_change(session: TenantSession, upload_id: UUID) -> Upload | None:
    return session.get(Upload, upload_id, with_for_update=True, populate_existing=True)


def expired_uploads(session: TenantSession, *, at: datetime) -> Sequence[Upload]:
    """Locked; those that somebody else has locked come another time."""
    return session.scalars(
        select(Upload).where(Upload.expires_at < at).with_for_update(skip_locked=True)
    ).all()
