"""Reads of documents and files."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import exists, select

from app.domains.documents.models import Document, File, FileState, Upload
from app.tenancy.sessions import TenantSession


def document(session: TenantSession, document_id: UUID) -> Document | None:
    return session.get(Document, document_id)


def document_for_change(session: TenantSession, document_id: UUID) -> Document | None:
    """The document, locked until the transaction ends: of two that delete it, one finds it."""
    return session.get(
        Document, document_id, with_for_update={"of": Document}, populate_existing=True
    )


def documents(session: TenantSession, *, after: UUID | None, limit: int) -> Sequence[Document]:
    """Newest first, at most ``limit``, after the id given."""
    statement = select(Document).order_by(Document.id.desc()).limit(limit)
    if after is not None:
        statement = statement.where(Document.id < after)
    return session.scalars(statement).all()


def available_file(session: TenantSession, digest: str) -> File | None:
    """The file with this content, locked against being given up until the transaction ends."""
    return session.scalar(
        select(File)
        .where(File.digest == digest, File.state == FileState.AVAILABLE)
        .with_for_update(read=True)
    )


def file_for_change(session: TenantSession, file_id: UUID) -> File | None:
    return session.get(File, file_id, with_for_update=True, populate_existing=True)


def is_referred_to(session: TenantSession, file_id: UUID) -> bool:
    return bool(session.scalar(select(exists().where(Document.file_id == file_id))))


def abandoned_files(session: TenantSession, *, before: datetime) -> Sequence[UUID]:
    """Files that lost their upload, or whose bytes wait to be deleted, untouched since then."""
    return session.scalars(
        select(File.id).where(File.state != FileState.AVAILABLE, File.updated_at < before)
    ).all()


def upload(session: TenantSession, upload_id: UUID) -> Upload | None:
    return session.get(Upload, upload_id)


def upload_for_change(session: TenantSession, upload_id: UUID) -> Upload | None:
    return session.get(Upload, upload_id, with_for_update=True, populate_existing=True)


def expired_uploads(session: TenantSession, *, at: datetime) -> Sequence[Upload]:
    """Locked; those that somebody else has locked come another time."""
    return session.scalars(
        select(Upload).where(Upload.expires_at < at).with_for_update(skip_locked=True)
    ).all()
