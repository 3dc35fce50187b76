"""Looking into stored files: whether they are whole, what they are, which text they hold.

The bytes are read with no transaction open, and understood in a child process that may die of them.
What came of it is written once, however often it is asked for.
"""

import tempfile
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import IO, Final
from uuid import UUID

from sqlalchemy.exc import OperationalError

from app.core import events
from app.core.db import main_session
from app.domains.documents import queries
from app.domains.documents.events import FileProcessed
from app.domains.documents.models import File, FileState, Processing
from app.domains.documents.service.files import OpenSession
from app.domains.jobs import service as jobs
from app.integrations import extraction
from app.integrations.extraction import Extract, Limits
from app.integrations.storage import ObjectMissing, Storage
from app.integrations.storage.hashing import Hashing, chunks_of
from app.tenancy.sessions import TenantSession

_MOST_DOCUMENTS: Final = 100
_PAGE: Final = 500
# PostgreSQL: "string is too long for tsvector".
_TOO_LONG: Final = "54000"


def process_file(
    open_session: OpenSession,
    storage: Storage,
    *,
    file_id: UUID,
    largest: int,
    limits: Limits,
) -> None:
    """What the job does; nothing where it was done before, or the file is gone.

    Raises:
        StorageUnavailable, ExtractionUnavailable: later it may succeed.
    """
    with open_session() as session:
        file = _waiting(queries.file(session, file_id))
    if file is None:
        return
    extract = _looked_into(storage, file, largest=largest, limits=limits)
    with open_session() as session:
        file = _waiting(queries.file_for_change(session, file_id))
        if file is not None:
            _write_down(session, file, extract)


def process_again(open_session: OpenSession, *, states: Sequence[Processing]) -> Iterator[int]:
    """Has the tenant's files looked into once more that are so far; how many, page by page.

    Where it breaks off, what is pending then is asked for by the next one.
    """
    after, more = None, True
    while more:
        with open_session() as session:
            page = queries.files_in(session, states, after=after, limit=_PAGE)
            for file in page:
                file.processing = Processing.PENDING
            tenant_id = session.location.tenant_id
        # Not before that is committed: a job leaves alone what is not pending.
        with main_session(tenant_id=tenant_id) as main:
            for file in page:
                jobs.schedule(
                    main, "documents.process_file", tenant_id=tenant_id, file_id=str(file.id)
                )
        more = len(page) == _PAGE
        after = page[-1].id if page else None
        yield len(page)


def _waiting(file: File | None) -> File | None:
    if file is None or file.state != FileState.AVAILABLE:
        return None
    return file if file.processing == Processing.PENDING else None


def _looked_into(storage: Storage, file: File, *, largest: int, limits: Limits) -> Extract:
    """Read from end to end in any case, and understood up to ``largest`` bytes."""
    with tempfile.TemporaryFile() as copy:
        try:
            if not _arrives_whole(storage, file, copy, largest=largest):
                return Extract(failure="differs")
        except ObjectMissing:
            return Extract(failure="missing")
        extract = extraction.extract(copy, limits=limits)
    too_large = file.size is not None and file.size > largest
    if too_large and extract.failure != "unsupported":
        return replace(extract, text=None, failure="too_large")
    return extract


def _arrives_whole(storage: Storage, file: File, copy: IO[bytes], *, largest: int) -> bool:
    """Whether size and digest are those of the row; ``copy`` gets the beginning."""
    hashing, room = Hashing(), largest
    with storage.open(file.key) as stored:
        for chunk in hashing.of(chunks_of(stored)):
            copy.write(chunk[:room])
            room -= min(room, len(chunk))
    copy.flush()
    found = hashing.result()
    return (found.size, f"sha256:{found.sha256}") == (file.size, file.digest)


def _write_down(session: TenantSession, file: File, extract: Extract) -> None:
    file.processing = _outcome(extract)
    file.processing_reason, file.detected_type = extract.failure, extract.content_type
    if extract.text is None:
        queries.drop_text(session, file.id)
    else:
        _write_text(session, file.id, extract.text)
    events.record(
        session,
        FileProcessed(
            file_id=file.id,
            outcome=file.processing,
            reason=file.processing_reason,
            detected_type=file.detected_type,
            document_ids=list(queries.documents_with(session, file.id, limit=_MOST_DOCUMENTS)),
        ),
    )


def _outcome(extract: Extract) -> Processing:
    if extract.failure is None:
        return Processing.PROCESSED
    if extract.failure in {"unsupported", "too_large", "encrypted"}:
        return Processing.UNSUPPORTED
    return Processing.FAILED


def _write_text(session: TenantSession, file_id: UUID, content: str) -> None:
    """As much of it as an index takes: what is all different words is cut."""
    while True:
        try:
            with session.begin_nested():
                queries.write_text(session, file_id, content=content, words=folded(content))
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", None) != _TOO_LONG:
                raise
            content = content[: len(content) // 2]
        else:
            return


def folded(content: str) -> str:
    """The text as it is searched: however it is written, in capitals or not."""
    return unicodedata.normalize("NFKC", content).casefold()
