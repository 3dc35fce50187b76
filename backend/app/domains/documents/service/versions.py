"""What a document held before: kept, read, and made the newest again."""

from typing import Final
from uuid import UUID

from app.core import events
from app.core.caller import Caller
from app.core.conditions import IfMatch
from app.core.pages import Cursors, Page
from app.domains.documents import queries
from app.domains.documents.errors import VersionNotFound
from app.domains.documents.events import VersionAdded
from app.domains.documents.models import Document, DocumentVersion, File
from app.domains.documents.service import files
from app.domains.documents.service.documents import get_document, to_change
from app.tenancy.sessions import TenantSession

# What the column holds (PostgreSQL, section 8.1.1).
_HIGHEST: Final = 2**31 - 1


def list_versions(
    session: TenantSession, *, cursors: Cursors, document_id: UUID, cursor: str | None, limit: int
) -> Page[DocumentVersion]:
    """The newest first."""
    get_document(session, document_id=document_id)
    query = ["versions", session.tenant_id, document_id]
    before = None if cursor is None else cursors.load_position(cursor, query=query)[0]
    rows = queries.versions(
        session,
        document_id,
        before=before if isinstance(before, int) else None,
        limit=limit + 1,
    )
    more = len(rows) > limit
    last = rows[:limit][-1:]
    next_cursor = cursors.dump_position([last[0].number], query=query) if more else None
    return Page(rows[:limit], next_cursor)


def get_version(session: TenantSession, *, document_id: UUID, number: int) -> DocumentVersion:
    """A version of a document that is not in the trash.

    Raises:
        DocumentNotFound, VersionNotFound: there is none.
    """
    get_document(session, document_id=document_id)
    version = None if number > _HIGHEST else queries.version(session, document_id, number)
    if version is None:
        raise VersionNotFound("There is no such version, or it was too old to be kept.")
    return version


def restore_version(
    session: TenantSession,
    *,
    caller: Caller,
    document_id: UUID,
    number: int,
    if_match: IfMatch,
    keep: int,
) -> Document:
    """Makes a former version's content the newest again, as a new version."""
    queries.lock_files(session)
    document = to_change(session, caller=caller, document_id=document_id)
    if_match.require(document.etag)
    former = get_version(session, document_id=document_id, number=number)
    add_version(
        session,
        document,
        former.file,
        content_type=former.content_type,
        created_by=caller.user_id,
        keep=keep,
        restored_from=number,
    )
    return document


def add_version(
    session: TenantSession,
    document: Document,
    file: File,
    *,
    content_type: str,
    created_by: UUID,
    keep: int,
    restored_from: int | None = None,
) -> None:
    """The file becomes the document's content; the oldest versions go. Needs `lock_files`."""
    document.version += 1
    document.file, document.content_type, document.size = file, content_type, file.size or 0
    session.add(
        DocumentVersion(
            document_id=document.id,
            number=document.version,
            file=file,
            content_type=content_type,
            created_by=created_by,
        )
    )
    _forget_oldest(session, document, keep=keep)
    events.record(
        session,
        VersionAdded(
            document_id=document.id,
            name=document.name,
            owner_id=document.owner_id,
            version=document.version,
            size=document.size,
            digest=file.digest or "",
            restored_from=restored_from,
        ),
    )


def _forget_oldest(session: TenantSession, document: Document, *, keep: int) -> None:
    oldest = queries.versions_up_to(session, document.id, document.version - keep)
    for version in oldest:
        session.delete(version)
    files.give_up_unused(session, [version.file_id for version in oldest])
