"""Direct uploads: the client sends the bytes to the store itself, and we verify what arrived.

Reserve, PUT (whole or in parts), complete. Until the store's own bytes have been counted and hashed
here there is no document; what the client says of them is only compared. The addresses stay good
for a while after that, so the bytes move to a key that no address opens.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Final
from uuid import UUID

from app.core import clock, events, ids
from app.core.caller import Caller
from app.core.db import main_session
from app.core.errors import AppError, PayloadTooLarge
from app.domains.documents import queries
from app.domains.documents.errors import (
    UploadDiffers,
    UploadExpired,
    UploadIncomplete,
    UploadNotFound,
    UploadOver,
)
from app.domains.documents.events import UploadAborted, UploadReserved
from app.domains.documents.models import File, FileState, Upload, UploadState
from app.domains.documents.service import files, placing
from app.domains.documents.service.files import OpenSession
from app.domains.documents.service.names import checked_name, checked_type
from app.domains.documents.service.quota import Limits
from app.domains.documents.service.receiving import add_document
from app.domains.jobs import service as jobs
from app.integrations.storage import ObjectMissing, PartsMissing, Storage, StoredObject
from app.integrations.storage.contract import SMALLEST_PART
from app.integrations.storage.hashing import Hashing, chunks_of
from app.tenancy.sessions import TenantSession

# S3 takes no larger object in one piece ("Amazon S3 multipart upload limits").
_LARGEST_PUT: Final = 5 * 1024**3
_LIFE: Final = timedelta(hours=24)
# Longer than a job may run: whoever is verifying after that has died.
_VERIFYING_ENDS: Final = timedelta(minutes=15)


def reserve_upload(
    open_session: OpenSession,
    storage: Storage,
    *,
    caller: Caller,
    name: str,
    content_type: str,
    size: int,
    digest: str | None,
    parts: int | None,
    largest: int,
    limits: Limits,
    done: Callable[[TenantSession, Upload], None],
) -> Upload:
    """Room for the announced bytes. With ``parts`` they come in about so many parts.

    ``done`` is told of the upload in the transaction that makes it.

    Raises:
        QuotaExceeded: the tenant has no room for them.
        BadName: as for any document.
        PayloadTooLarge: there are more than ``largest``.
    """
    if size > largest:
        raise PayloadTooLarge(f"A file may have {largest} bytes.")
    if parts is None and size > _LARGEST_PUT:
        parts = -(-size // _LARGEST_PUT)
    upload = Upload(
        id=ids.new_id(),
        owner_id=caller.user_id,
        name=checked_name(name, field="name"),
        content_type=checked_type(content_type),
        size=size,
        digest=digest,
        expires_at=clock.now() + _LIFE,
    )
    with open_session() as session:
        file = files.reserve(
            session,
            limits=limits,
            expected_bytes=size,
            for_new_document=True,
            file_id=upload.id,
        )
    if parts is not None and size > 0:
        upload.part_size = max(SMALLEST_PART, -(-size // parts))
        upload.store_id = storage.create_multipart(file.key)
    with open_session() as session:
        session.add(upload)
        session.flush()  # it is told as it is in the database
        reserved = UploadReserved(upload_id=upload.id, name=upload.name, size=size)
        events.record(session, reserved)
        done(session, upload)
    return upload


def get_upload(session: TenantSession, *, caller: Caller, upload_id: UUID) -> Upload:
    """The caller's own. Raises UploadNotFound, also for anybody else's."""
    return _own(queries.upload(session, upload_id), caller)


def received_parts(storage: Storage, upload: Upload, *, database: str) -> Sequence[int]:
    """The numbers of the parts that arrived whole; an upload in one piece counts as part 1."""
    key = files.incoming_key(database, upload.id)
    if upload.state != UploadState.OPEN:
        return []
    with suppress(ObjectMissing):
        if upload.store_id is not None:
            return [
                part.number
                for part in storage.parts(key, upload.store_id)
                if part.size == upload.size_of_part(part.number)
            ]
        if storage.stat(key).size == upload.size:
            return [1]
    return []


def complete_upload(
    open_session: OpenSession, storage: Storage, *, caller: Caller, upload_id: UUID, at_once: int
) -> Upload:
    """Verifies what arrived and makes the document; more than ``at_once`` bytes in a job.

    May be repeated: whoever comes while it is verified gets it as it is.

    Raises:
        UploadIncomplete: bytes are missing; the upload stays open.
        UploadDiffers: they are not those that were announced; nothing is kept.
        UploadOver, UploadExpired: there is nothing to complete any more.
    """
    with open_session() as session:
        upload = _own(queries.upload_for_change(session, upload_id), caller)
        if not _claim(upload):
            return upload
        tenant_id = session.location.tenant_id
    if upload.size <= at_once:
        return _verify_or_reopen(open_session, storage, upload)
    with main_session(tenant_id=tenant_id) as main:
        jobs.schedule(
            main, "documents.verify_upload", tenant_id=tenant_id, upload_id=str(upload_id)
        )
    return upload


def verify_in_background(open_session: OpenSession, storage: Storage, *, upload_id: UUID) -> None:
    """What the job does. What goes wrong is in the upload, for its owner to see."""
    with open_session() as session:
        upload = queries.upload(session, upload_id)
    if upload is not None and upload.state == UploadState.VERIFYING:
        with suppress(AppError):
            _verify_or_reopen(open_session, storage, upload)


def abort_upload(
    open_session: OpenSession, storage: Storage, *, caller: Caller, upload_id: UUID
) -> None:
    """Forgets it and what arrived of it.

    Raises:
        UploadOver: there is a document already, or there will be one in a moment.
    """
    with open_session() as session:
        upload = _own(queries.upload_for_change(session, upload_id), caller)
        if upload.state == UploadState.COMPLETED or _is_being_verified(upload):
            raise UploadOver("This upload is completed; delete the document instead.")
        if upload.state != UploadState.FAILED:
            events.record(session, UploadAborted(upload_id=upload.id, name=upload.name))
        upload.state, upload.failure = UploadState.FAILED, "aborted"
    _discard(open_session, storage, upload)


def sweep_uploads(session: TenantSession, storage: Storage) -> int:
    """Forgets uploads whose time is over; returns how many.

    Of completed ones as well: their addresses were good until now, and may have been used again.
    """
    over = [
        upload
        for upload in queries.expired_uploads(session, at=clock.now())
        if not _is_being_verified(upload)
    ]
    for upload in over:
        file = queries.file_for_change(session, upload.id)
        storage.delete(files.incoming_key(session.location.database, upload.id))
        if file is not None and file.state == FileState.PENDING:
            files.erase_bytes(storage, database=session.location.database, file=file)
            session.delete(file)
        session.delete(upload)
    return len(over)


def _own(upload: Upload | None, caller: Caller) -> Upload:
    if upload is None or upload.owner_id != caller.user_id:
        raise UploadNotFound("There is no such upload.")
    return upload


def _is_being_verified(upload: Upload) -> bool:
    return (
        upload.state == UploadState.VERIFYING and upload.updated_at > clock.now() - _VERIFYING_ENDS
    )


def _claim(upload: Upload) -> bool:
    """Whether it is for the caller to verify it, rather than done, or done by another."""
    if upload.state == UploadState.FAILED:
        raise UploadOver("This upload has failed or was aborted; begin a new one.")
    if upload.state == UploadState.COMPLETED or _is_being_verified(upload):
        return False
    if upload.expires_at <= clock.now():
        raise UploadExpired("This upload took too long; begin a new one.")
    upload.state, upload.failure, upload.updated_at = UploadState.VERIFYING, None, clock.now()
    return True


def _verify_or_reopen(open_session: OpenSession, storage: Storage, upload: Upload) -> Upload:
    try:
        return _verify(open_session, storage, upload)
    except BaseException as error:
        code = error.code if isinstance(error, AppError) else AppError.code
        failed = isinstance(error, UploadDiffers)
        with open_session() as session:
            found = queries.upload_for_change(session, upload.id)
            if found is not None and found.state == UploadState.VERIFYING:
                found.state = UploadState.FAILED if failed else UploadState.OPEN
                found.failure = code
        if failed:
            _discard(open_session, storage, upload)
        raise


def _verify(open_session: OpenSession, storage: Storage, upload: Upload) -> Upload:
    with open_session() as session:
        moved = files.pending(session, upload.id).key
        incoming = files.incoming_key(session.location.database, upload.id)
    source, stored, version = _arrived(storage, upload, incoming=incoming, moved=moved)

    def finish(session: TenantSession, content: File) -> Upload:
        found = queries.upload_for_change(session, upload.id)
        if found is None:
            raise UploadNotFound("There is no such upload.")
        if found.document_id is None:
            document = add_document(
                session,
                content,
                owner_id=found.owner_id,
                name=found.name,
                content_type=found.content_type,
            )
            session.flush()  # what the upload refers to is there before it
            found.state, found.document_id, found.failure = (
                UploadState.COMPLETED,
                document.id,
                None,
            )
        return found

    return placing.settle(
        open_session,
        storage,
        file_id=upload.id,
        stored=stored,
        finish=finish,
        source=source,
        version=version,
    )


def _arrived(
    storage: Storage, upload: Upload, *, incoming: str, moved: str
) -> tuple[str, StoredObject, str]:
    """Where the object lies, what it is, and its version; read from the store from end to end.

    ``moved`` is where a process that died may have moved it to already.
    """
    try:
        _join_parts(storage, upload, incoming)
        key, state = incoming, storage.stat(incoming)
    except ObjectMissing:
        if moved == incoming:
            raise UploadIncomplete("Nothing has arrived yet; send the bytes.") from None
        key, state = moved, storage.stat(moved)
    if state.size != upload.size:
        raise UploadDiffers(f"{state.size} bytes arrived, and {upload.size} were announced.")
    hashing = Hashing()
    with storage.open(key, version=state.version) as file:
        for _ in hashing.of(chunks_of(file)):
            pass
    stored = hashing.result()
    if upload.digest not in {None, f"sha256:{stored.sha256}"} or stored.size != upload.size:
        raise UploadDiffers("What arrived has another digest than was announced.")
    return key, stored, state.version


def _join_parts(storage: Storage, upload: Upload, key: str) -> None:
    if upload.store_id is None:
        return
    try:
        parts = storage.parts(key, upload.store_id)
    except ObjectMissing:  # joined already
        return
    whole = {part.number for part in parts if part.size == upload.size_of_part(part.number)}
    missing = [number for number in range(1, upload.part_count + 1) if number not in whole]
    if missing or len(parts) != upload.part_count:
        raise UploadIncomplete(f"{len(missing)} of {upload.part_count} parts are missing.")
    try:
        storage.complete_multipart(key, upload.store_id)
    except PartsMissing as error:
        raise UploadIncomplete(error.detail) from error


def _discard(open_session: OpenSession, storage: Storage, upload: Upload) -> None:
    """Takes away what a failed upload left; what this cannot do, the sweep does."""
    with suppress(AppError), open_session() as session:
        file = queries.file_for_change(session, upload.id)
        storage.delete(files.incoming_key(session.location.database, upload.id))
        if file is not None and file.state == FileState.PENDING:
            files.erase_bytes(storage, database=session.location.database, file=file)
            session.delete(file)
