"""Deleting in two steps: into the trash, from which it comes back, and out of it for good."""

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Final
from uuid import UUID

from app.core import clock, events
from app.core.caller import Caller
from app.core.conditions import IfMatch
from app.core.db import main_session
from app.core.pages import Cursors, Page
from app.core.tasks import enqueue_after_commit
from app.domains.documents import policy, queries
from app.domains.documents.errors import NotYourDocument
from app.domains.documents.events import DocumentDeleted, DocumentPurged, DocumentRestored
from app.domains.documents.models import Document
from app.domains.documents.service import files
from app.domains.documents.service.documents import found
from app.domains.documents.service.files import OpenSession
from app.domains.jobs import service as jobs
from app.tenancy.sessions import TenantSession

# So many are purged in one transaction: uploads wait while it lasts.
_BATCH: Final = 200


def delete_document(
    session: TenantSession,
    *,
    caller: Caller,
    document_id: UUID,
    if_match: IfMatch,
    kept_days: int,
) -> None:
    """Moves the document to the trash: it is not listed, read, or opened by a link any more.

    After ``kept_days`` it is purged.

    Raises:
        NotYourDocument: it is another person's, and the caller manages only his or her own.
        PreconditionFailed: it is not at the revision that the caller means.
    """
    document = _own(caller, queries.document_for_change(session, document_id))
    if_match.require(document.etag)
    document.deleted_at, document.deleted_by = clock.now(), caller.user_id
    _promise_purge(session, days=kept_days)
    events.record(
        session,
        DocumentDeleted(document_id=document.id, name=document.name, owner_id=document.owner_id),
    )


def list_trash(
    session: TenantSession, *, caller: Caller, cursors: Cursors, cursor: str | None, limit: int
) -> Page[Document]:
    """The caller's own, or all for who manages all; the last deleted first."""
    owner_id = _only_of(caller)
    query = ["trash", session.tenant_id, owner_id]
    after = None if cursor is None else _position(cursors.load_position(cursor, query=query))
    rows = queries.trashed(session, owner_id=owner_id, after=after, limit=limit + 1)
    if len(rows) <= limit:
        return Page(rows, None)
    last = rows[limit - 1]
    position = [str(last.deleted_at), last.id.hex]
    return Page(rows[:limit], cursors.dump_position(position, query=query))


def restore_document(session: TenantSession, *, caller: Caller, document_id: UUID) -> Document:
    """Takes the document out of the trash, as it was."""
    document = _own(caller, queries.trashed_for_change(session, document_id))
    document.deleted_at = document.deleted_by = None
    session.flush()  # gives the new revision
    events.record(session, DocumentRestored(document_id=document.id, name=document.name))
    return document


def purge_document(session: TenantSession, *, caller: Caller, document_id: UUID) -> None:
    """Deletes a document in the trash for good; the bytes follow when no other holds them."""
    queries.lock_files(session)
    _purge(session, [_own(caller, queries.trashed_for_change(session, document_id))])


def empty_trash(open_session: OpenSession, *, caller: Caller) -> int:
    """Purges the caller's own, or all for who manages all; returns how many documents.

    In several transactions: what was purged before an error stays purged.
    """
    before, purged, more = clock.now(), 0, True
    while more:
        with open_session() as session:
            batch = _purge_batch(session, owner_id=_only_of(caller), before=before)
        purged, more = purged + batch, batch == _BATCH
    return purged


def purge_old(session: TenantSession, *, days: int) -> None:
    """Purges what has been in the trash for so many days; what is left is for the next job."""
    before = clock.now() - timedelta(days=days)
    if _purge_batch(session, owner_id=None, before=before) == _BATCH:
        enqueue_after_commit(session, "documents.purge_trash")


def _promise_purge(session: TenantSession, *, days: int) -> None:
    """One job for all that the tenant deletes today; committed first, as `files.promise_sweep`."""
    tenant_id, today = session.location.tenant_id, clock.now().date()
    with main_session(tenant_id=tenant_id) as main:
        jobs.schedule_once(
            main,
            "documents.purge_trash",
            slot=today.isoformat(),
            due_at=datetime.combine(today, time(), UTC) + timedelta(days=days + 1),
            tenant_id=tenant_id,
        )


def _purge_batch(session: TenantSession, *, owner_id: UUID | None, before: datetime) -> int:
    queries.lock_files(session)
    batch = queries.trashed_to_purge(session, owner_id=owner_id, before=before, limit=_BATCH)
    _purge(session, batch)
    return len(batch)


def _purge(session: TenantSession, documents: Sequence[Document]) -> None:
    file_ids = queries.files_of(session, [document.id for document in documents])
    for document in documents:
        session.delete(document)
        events.record(session, DocumentPurged(document_id=document.id, name=document.name))
    files.give_up_unused(session, file_ids)


def _own(caller: Caller, document: Document | None) -> Document:
    """A document that the caller may delete, bring back and purge."""
    if not policy.may_delete(caller, found(document)):
        raise NotYourDocument("You may delete only documents of your own.")
    return found(document)


def _only_of(caller: Caller) -> UUID | None:
    return None if policy.manages_all(caller) else caller.user_id


def _position(values: list[object]) -> tuple[datetime, UUID]:
    deleted_at, document_id = values
    return datetime.fromisoformat(str(deleted_at)), UUID(str(document_id))
