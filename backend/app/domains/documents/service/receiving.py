"""Bytes that come in: a new document, or a new version of one.

Either is short transactions with the streaming between them: the file's row is reserved before
the first byte and becomes available once the store has counted and hashed them all.
"""

from collections.abc import Callable, Iterable
from uuid import UUID

from app.core import events, ids
from app.core.caller import Caller
from app.core.conditions import IfMatch
from app.domains.documents.events import DocumentUploaded
from app.domains.documents.models import Document, DocumentVersion, File
from app.domains.documents.service import files, placing, versions
from app.domains.documents.service.documents import to_change
from app.domains.documents.service.files import OpenSession
from app.domains.documents.service.names import checked_name, checked_type
from app.domains.documents.service.quota import Limits
from app.integrations.storage import Storage
from app.tenancy.sessions import TenantSession

Done = Callable[[TenantSession, object], None]


def forgotten(_session: TenantSession, _result: object) -> None:
    """A `Done` for those who need none."""


def upload_document(
    open_session: OpenSession,
    storage: Storage,
    *,
    caller: Caller,
    name: str,
    content_type: str,
    chunks: Iterable[bytes],
    expected_bytes: int,
    limits: Limits,
    done: Done = forgotten,
) -> Document:
    """Stores the bytes and names them. The same bytes are stored once in a tenant.

    ``expected_bytes`` is what the sender announced, 0 where it did not; ``done`` is told of the
    document in the transaction that makes it.

    Raises:
        BadName: the name is empty, too long, or holds control characters.
        QuotaExceeded: the tenant has no room for them.
        StorageFull, StorageUnavailable: nothing is kept but a pending row for the sweep.
    """
    name = checked_name(name)

    def add(session: TenantSession, content: File) -> Document:
        document = add_document(
            session, content, owner_id=caller.user_id, name=name, content_type=content_type
        )
        done(session, document)
        return document

    with open_session() as session:
        file = files.reserve(
            session, limits=limits, expected_bytes=expected_bytes, for_new_document=True
        )
    with files.released_on_failure(open_session, file):
        stored = storage.put(file.key, files.charged(open_session, file, chunks, limits=limits))
        return placing.settle(open_session, storage, file_id=file.id, stored=stored, finish=add)


def add_document(
    session: TenantSession, file: File, *, owner_id: UUID, name: str, content_type: str
) -> Document:
    """A document with the available file as its first version."""
    document = Document(
        id=ids.new_id(),
        name=name,
        content_type=checked_type(content_type),
        size=file.size,
        owner_id=owner_id,
        version=1,
        file=file,
    )
    session.add(document)
    session.flush()  # its version refers to it
    session.add(
        DocumentVersion(
            document_id=document.id,
            number=1,
            file=file,
            content_type=document.content_type,
            created_by=owner_id,
        )
    )
    events.record(
        session,
        DocumentUploaded(
            document_id=document.id,
            name=name,
            size=document.size,
            digest=document.digest or "",
        ),
    )
    return document


def upload_version(
    open_session: OpenSession,
    storage: Storage,
    *,
    caller: Caller,
    document_id: UUID,
    if_match: IfMatch,
    content_type: str,
    chunks: Iterable[bytes],
    expected_bytes: int,
    limits: Limits,
    keep: int,
    done: Done = forgotten,
) -> Document:
    """Stores the bytes as the document's newest version; the newest ``keep`` versions stay.

    Raises:
        as `upload_document`; NotYourDocument, PreconditionFailed: before the bytes are received,
        and again behind them.
    """

    def add_version(session: TenantSession, content: File) -> Document:
        document = to_change(session, caller=caller, document_id=document_id)
        if_match.require(document.etag)
        versions.add_version(
            session,
            document,
            content,
            content_type=checked_type(content_type),
            created_by=caller.user_id,
            keep=keep,
        )
        done(session, document)
        return document

    with open_session() as session:
        document = to_change(session, caller=caller, document_id=document_id)
        if_match.require(document.etag)
        file = files.reserve(
            session, limits=limits, expected_bytes=expected_bytes, for_new_document=False
        )
    with files.released_on_failure(open_session, file):
        stored = storage.put(file.key, files.charged(open_session, file, chunks, limits=limits))
        return placing.settle(
            open_session, storage, file_id=file.id, stored=stored, finish=add_version
        )
