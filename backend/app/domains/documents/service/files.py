"""Stored objects: reserved before the first byte, shared by equal content, erased at last.

A file's row is there before its bytes and goes after them: a crash at any point leaves bytes too
many, never too few, and a row that says where they are.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, time, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError

from app.core import clock, events, ids
from app.core.db import main_session
from app.core.errors import AppError
from app.core.tasks import enqueue_after_commit
from app.domains.documents import queries
from app.domains.documents.errors import DocumentNotFound
from app.domains.documents.events import FileProcess
from app.domains.documents.models import File, FileState
from app.domains.documents.service import quota
from app.domains.documents.service.quota import Limits
from app.domains.documents.service.stored_files import require_erasure
from app.domains.jobs import service as jobs
from app.integrations.storage import Storage, StoredObject
from app.tenancy.sessions import TenantSession

logger = logging.getLogger(__name__)

OpenSession = Callable[[], AbstractContextManager[TenantSession]]

# An upload that has not finished by then will not.
_ABANDONED_AFTER: Final = timedelta(hours=24)
# How much of the quota an upload of unknown size takes at a time.
_STEP: Final = 16 * 1024**2


def reserve(
    session: TenantSession,
    *,
    limits: Limits,
    expected_bytes: int,
    for_new_document: bool,
    file_id: UUID | None = None,
) -> File:
    """A pending file, which holds its part of the quota from now on.

    Raises:
        QuotaExceeded: there is no room for it.
    """
    file_id = file_id or ids.new_id()
    file = File(
        id=file_id,
        key=incoming_key(session.location.database, file_id),
        charged_bytes=expected_bytes,
        holds_place=for_new_document,
    )
    session.add(file)
    promise_sweep(session)
    quota.require_room(session, limits=limits)
    return file


def charged(
    open_session: OpenSession, file: File, chunks: Iterable[bytes], *, limits: Limits
) -> Iterator[bytes]:
    """The chunks, while the file's part of the quota grows ahead of them.

    Raises:
        QuotaExceeded: they are more than there is room for.
    """
    received, taken = 0, file.charged_bytes
    for chunk in chunks:
        received += len(chunk)
        if received > taken:
            taken = _extend(open_session, file.id, received, limits)
        yield chunk


def _extend(open_session: OpenSession, file_id: UUID, needed: int, limits: Limits) -> int:
    """Takes a step more than is needed, or just that where the quota ends before."""
    with open_session() as session:
        file = pending(session, file_id)
        for size in (needed + _STEP, needed):
            file.charged_bytes = size
            if quota.has_room(session, limits=limits):
                return size
        raise quota.exceeded()


@contextmanager
def released_on_failure(open_session: OpenSession, file: File) -> Iterator[None]:
    """Gives the quota back at once where an upload fails; the row and its bytes wait for the sweep.

    A process that dies cannot: then the quota waits for the sweep, too.
    """
    try:
        yield
    except BaseException:
        try:
            with open_session() as session:
                release(session, [file.id])
        except (AppError, SQLAlchemyError):
            logger.warning("quota not released; the sweep will", extra={"file": str(file.id)})
        raise


def complete(session: TenantSession, file_id: UUID, stored: StoredObject) -> File | None:
    """The available file of this content: the one just stored, or the one that was there first.

    None where the one that was there first has gone since, so that this one has to be placed.
    """
    queries.lock_files(session)
    file = pending(session, file_id)
    digest = f"sha256:{stored.sha256}"
    first = queries.available_file(session, digest)
    if first is None and file.key != final_key(session.location.database, file_id, stored.sha256):
        return None
    file.holds_place = False
    if first is None:
        file.state, file.charged_bytes = FileState.AVAILABLE, stored.size
        events.record(session, FileProcess(file_id=file.id, size=stored.size))
        return file
    if first.id != file.id:
        _give_up(session, file)
    return first


def give_up_unused(session: TenantSession, file_ids: Sequence[UUID]) -> None:
    """Gives up those of the files that no version holds any more. Needs `queries.lock_files`."""
    session.flush()  # the question is about what is left
    unused = queries.unused_files(session, file_ids)
    for file in unused:
        _give_up(session, file)
    if unused:
        promise_sweep(session)


def erase_file(session: TenantSession, storage: Storage, *, file_id: UUID) -> bool:
    """Deletes the bytes and then the row of a file that was given up; True if it did.

    Looks again whether any version holds it, although none can.

    Raises:
        ErasureHeld: a backup is being taken.
    """
    require_erasure(session)
    file = queries.file_for_change(session, file_id)
    if file is None or file.state == FileState.AVAILABLE or queries.is_held(session, file_id):
        return False
    erase_bytes(storage, database=session.location.database, file=file)
    session.delete(file)
    return True


def sweep_files(session: TenantSession, storage: Storage) -> int:
    """Erases what failed uploads and lost jobs left behind; returns how many files."""
    abandoned = queries.abandoned_files(session, before=clock.now() - _ABANDONED_AFTER)
    # Rows go when all bytes have gone: from the first one on, nobody else can take quota.
    with session.no_autoflush:
        return sum(erase_file(session, storage, file_id=file_id) for file_id in abandoned)


def promise_sweep(session: TenantSession) -> None:
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


def release(session: TenantSession, file_ids: Sequence[UUID]) -> None:
    """Takes back what the files hold of the quota, unless they have become available."""
    for file_id in sorted(file_ids):
        file = queries.file_for_change(session, file_id)
        if file is not None and file.state != FileState.AVAILABLE:
            file.charged_bytes, file.holds_place = 0, False


def pending(session: TenantSession, file_id: UUID) -> File:
    file = queries.file_for_change(session, file_id)
    if file is None:  # swept: the upload took longer than a day
        raise DocumentNotFound("This upload took too long; send the file again.")
    return file


def _give_up(session: TenantSession, file: File) -> None:
    file.state, file.charged_bytes = FileState.DELETING, 0
    enqueue_after_commit(session, "documents.erase_file", file_id=str(file.id))


def erase_bytes(storage: Storage, *, database: str, file: File) -> None:
    """At both of its keys."""
    for key in {file.key, incoming_key(database, file.id)}:
        storage.delete(key)


def incoming_key(database: str, file_id: UUID) -> str:
    return f"tenants/{database}/incoming/{file_id.hex}"


def final_key(database: str, file_id: UUID, sha256: str) -> str:
    """Sharded by the digest, which also says what the bytes have to be."""
    return f"tenants/{database}/files/{sha256[:2]}/{sha256[2:4]}/{sha256}_{file_id.hex}"


def database_of(key: str) -> str:
    """Whose file it is: the name of the tenant's database."""
    return key.split("/")[1]


def id_in(key: str) -> UUID | None:
    """The id of the file whose incoming key this is."""
    _, folder, name = key.rpartition("/incoming/")
    try:
        return UUID(name) if folder else None
    except ValueError:
        return None
