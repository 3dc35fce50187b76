"""Where a file's bytes lie while they arrive, and where they stay.

They arrive at ``tenants/{database}/incoming/{id}`` and, once counted and hashed, move inside the
store to ``tenants/{database}/files/aa/bb/{digest}_{id}``. The row learns of the final key before
the move, and the first follows from its id: whoever erases the file knows both.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final, TypeVar
from uuid import UUID

from sqlalchemy.exc import IntegrityError

from app.core.tasks import enqueue_after_commit
from app.domains.documents import queries
from app.domains.documents.errors import DocumentNotFound, UploadBusy
from app.domains.documents.models import File, FileState
from app.integrations.storage import Storage, StoredObject
from app.tenancy.sessions import TenantSession

OpenSession = Callable[[], AbstractContextManager[TenantSession]]
Result = TypeVar("Result")

_ATTEMPTS: Final = 3


def incoming_key(database: str, file_id: UUID) -> str:
    return f"tenants/{database}/incoming/{file_id.hex}"


def final_key(database: str, file_id: UUID, sha256: str) -> str:
    """Sharded by the digest, which also says what the bytes have to be."""
    return f"tenants/{database}/files/{sha256[:2]}/{sha256[2:4]}/{sha256}_{file_id.hex}"


def settle(
    open_session: OpenSession,
    storage: Storage,
    *,
    file_id: UUID,
    stored: StoredObject,
    finish: Callable[[TenantSession, File], Result],
    source: str | None = None,
    version: str | None = None,
) -> Result:
    """Moves what arrived to its final key and makes it available, together with ``finish``.

    ``finish`` gets the tenant's available file of this content, which may be another that was there
    first: then nothing is moved. ``source`` and ``version`` say which object was hashed, where
    others can write to it.
    """
    for _ in range(_ATTEMPTS):
        place(open_session, storage, file_id=file_id, stored=stored, source=source, version=version)
        with open_session() as session:
            content = _complete(session, file_id, stored)
            if content is not None:
                return finish(session, content)
    raise UploadBusy("The same file is being deleted at this moment; send it again.")


def place(
    open_session: OpenSession,
    storage: Storage,
    *,
    file_id: UUID,
    stored: StoredObject,
    source: str | None = None,
    version: str | None = None,
) -> None:
    with open_session() as session:
        file = pending(session, file_id)
        file.digest, file.md5, file.size = f"sha256:{stored.sha256}", stored.md5, stored.size
        database = session.location.database
        target = final_key(database, file_id, stored.sha256)
        if file.state != FileState.PENDING or queries.available_file(session, file.digest):
            return
        file.key = target
    storage.move(source or incoming_key(database, file_id), target, version=version)


def pending(session: TenantSession, file_id: UUID) -> File:
    """The file, locked. Raises DocumentNotFound where it was swept: the upload took too long."""
    file = queries.file_for_change(session, file_id)
    if file is None:
        raise DocumentNotFound("This upload took too long; send the file again.")
    return file


def erase_bytes(storage: Storage, *, database: str, file: File) -> None:
    """At both of its keys."""
    for key in {file.key, incoming_key(database, file.id)}:
        storage.delete(key)


def _complete(session: TenantSession, file_id: UUID, stored: StoredObject) -> File | None:
    """The available file of this content: this one, or the one that was there first.

    None where the one that was there first has gone since, so that this one has to be moved.
    """
    file = pending(session, file_id)
    digest = f"sha256:{stored.sha256}"
    for _ in range(_ATTEMPTS):
        first = queries.available_file(session, digest)
        if first is not None:
            if first.id != file.id:
                file.state = FileState.DELETING
                enqueue_after_commit(session, "documents.erase_file", file_id=str(file.id))
            return first
        if file.key != final_key(session.location.database, file_id, stored.sha256):
            return None
        try:
            with session.begin_nested():
                file.state = FileState.AVAILABLE
        except IntegrityError:  # another upload of the same bytes was a moment faster
            session.refresh(file)
            continue
        return file
    return None
