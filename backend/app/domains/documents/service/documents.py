"""The verbs of documents.

An upload is short transactions with the streaming between them: the row is reserved before the
first byte and becomes available once the store has counted and hashed them all.
"""

import re
import unicodedata
from collections.abc import Iterable
from datetime import UTC, datetime, time, timedelta
from typing import BinaryIO, Final
from uuid import UUID

from app.core import clock, ids
from app.core.caller import Caller
from app.core.db import main_session
from app.core.pages import Cursors, Page, page_of
from app.core.tasks import enqueue_after_commit
from app.domains.documents import policy, queries
from app.domains.documents.errors import BadName, DocumentNotFound, NotYourDocument
from app.domains.documents.models import Document, File, FileState
from app.domains.documents.service import placing
from app.domains.documents.service.placing import OpenSession
from app.domains.jobs import service as jobs
from app.integrations.storage import Link, Storage
from app.tenancy.sessions import TenantSession

_LONGEST_NAME: Final = 255
_MEDIA_TYPE: Final = re.compile(
    r"^[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}\Z"
)
# Unicode's explicit directional formatting (UAX #9, section 2): "exe\u202etxt.fdp" shows as PDF.
_TURNING: Final = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})
# An upload that has not finished by then will not.
_ABANDONED_AFTER: Final = timedelta(hours=24)


def upload_document(
    open_session: OpenSession,
    storage: Storage,
    *,
    caller: Caller,
    name: str,
    content_type: str,
    chunks: Iterable[bytes],
) -> Document:
    """Stores the bytes and names them. The same bytes are stored once in a tenant.

    Raises:
        BadName: the name is empty, too long, or holds control characters.
        StorageFull, StorageUnavailable: nothing is kept but a pending row for the sweeper.
    """
    name = checked_name(name)
    with open_session() as session:
        file = reserve_file(session, file_id=ids.new_id())
    stored = storage.put(file.key, chunks)
    return placing.settle(
        open_session,
        storage,
        file_id=file.id,
        stored=stored,
        finish=lambda session, content: add_document(
            session, content, owner_id=caller.user_id, name=name, content_type=content_type
        ),
    )


def reserve_file(session: TenantSession, *, file_id: UUID) -> File:
    """A pending file: its row is there before its bytes."""
    file = File(id=file_id, key=placing.incoming_key(session.location.database, file_id))
    session.add(file)
    _promise_sweep(session)
    return file


def add_document(
    session: TenantSession, file: File, *, owner_id: UUID, name: str, content_type: str
) -> Document:
    """A document that shows the available file."""
    document = Document(
        id=ids.new_id(),
        name=name,
        content_type=checked_type(content_type),
        owner_id=owner_id,
        file=file,
    )
    session.add(document)
    return document


def list_documents(
    session: TenantSession, *, cursors: Cursors, cursor: str | None, limit: int
) -> Page[Document]:
    after = None if cursor is None else cursors.load(cursor)
    rows = queries.documents(session, after=after, limit=limit + 1)
    return page_of(rows, limit=limit, cursors=cursors, id_of=lambda row: row.id)


def get_document(session: TenantSession, *, document_id: UUID) -> Document:
    return _found(queries.document(session, document_id))


def find_document(session: TenantSession, *, document_id: UUID) -> Document | None:
    return queries.document(session, document_id)


def open_document(
    session: TenantSession, storage: Storage, *, document_id: UUID
) -> tuple[Document, BinaryIO]:
    document = get_document(session, document_id=document_id)
    return document, storage.open(document.file.key)


def create_link(
    session: TenantSession, storage: Storage, *, document_id: UUID, expires_in: int
) -> str:
    """An address that opens the document's bytes for anybody, for ``expires_in`` seconds."""
    document = get_document(session, document_id=document_id)
    link = Link(document.file.key, document.name, document.content_type)
    return storage.sign(link, expires_in=expires_in)


def delete_document(session: TenantSession, *, caller: Caller, document_id: UUID) -> None:
    """Deletes the document; the file's bytes follow when no other document names them.

    Raises:
        NotYourDocument: it is another person's, and the caller manages only his or her own.
    """
    document = _found(queries.document_for_change(session, document_id))
    if not policy.may_delete(caller, document):
        raise NotYourDocument("You may delete only documents of your own.")
    file = queries.file_for_change(session, document.file_id)
    session.delete(document)
    session.flush()  # the next question is about what is left
    if file is not None and not queries.is_referred_to(session, file.id):
        file.state = FileState.DELETING
        enqueue_after_commit(session, "documents.erase_file", file_id=str(file.id))
        _promise_sweep(session)


def erase_file(session: TenantSession, storage: Storage, *, file_id: UUID) -> bool:
    """Deletes the bytes and then the row of a file that nothing refers to; True if it did.

    Looks again under a lock: a crash at any point leaves bytes too many, never too few.
    """
    file = queries.file_for_change(session, file_id)
    if (
        file is None
        or file.state == FileState.AVAILABLE
        or queries.is_referred_to(session, file_id)
    ):
        return False
    placing.erase_bytes(storage, database=session.location.database, file=file)
    session.delete(file)
    return True


def sweep_files(session: TenantSession, storage: Storage) -> int:
    """Erases what failed uploads and lost jobs left behind; returns how many files."""
    abandoned = queries.abandoned_files(session, before=clock.now() - _ABANDONED_AFTER)
    return sum(erase_file(session, storage, file_id=file_id) for file_id in abandoned)


def _promise_sweep(session: TenantSession) -> None:
    """Has the tenant swept when all that begins today is over.

    The row is in the other plane and committed first: whatever breaks off after it, the sweep
    comes. One that finds nothing does no harm.
    """
    tenant_id, today = session.location.tenant_id, clock.now().date()
    # A day for an upload to end, and another to tell that nobody erases what it left.
    due_at = datetime.combine(today, time(), UTC) + _ABANDONED_AFTER * 3
    with main_session(tenant_id=tenant_id) as main:
        jobs.schedule_once(
            main,
            "documents.sweep_files",
            slot=today.isoformat(),
            due_at=due_at,
            tenant_id=tenant_id,
        )


def _found(document: Document | None) -> Document:
    if document is None:
        raise DocumentNotFound("There is no such document.")
    return document


def checked_name(name: str) -> str:
    """The last part of whatever path a client sent, to be shown and never to be opened."""
    plain = name.replace("\\", "/").rsplit("/", 1)[-1].strip()
    if not plain or len(plain.encode("utf-8", "replace")) > _LONGEST_NAME:
        message = f"A file's name has 1 to {_LONGEST_NAME} bytes."
        raise BadName(message, errors={"file": [message]})
    if any(map(_cannot_be_shown, plain)):
        message = "A file's name holds no control characters."
        raise BadName(message, errors={"file": [message]})
    return plain


def _cannot_be_shown(character: str) -> bool:
    """Controls, ends of lines, and what turns the direction of the text behind it around."""
    return (
        unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"}
        or unicodedata.bidirectional(character) in _TURNING
    )


def checked_type(content_type: str) -> str:
    """The media type (RFC 6838) without parameters; what is none becomes plain bytes."""
    plain = content_type.partition(";")[0].strip().lower()
    return plain if _MEDIA_TYPE.match(plain) else "application/octet-stream"
