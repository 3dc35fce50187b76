"""Where a file's bytes lie while they arrive, and where they stay.

They arrive at ``tenants/{database}/incoming/{id}`` and, once counted and hashed, move inside the
store to ``tenants/{database}/files/aa/bb/{digest}_{id}``. The row learns of the final key before
the move, and the first follows from its id: whoever erases the file knows both.
"""

from collections.abc import Callable
from typing import Final, TypeVar
from uuid import UUID

from app.domains.documents import queries
from app.domains.documents.errors import UploadBusy
from app.domains.documents.models import File, FileState
from app.domains.documents.service import files
from app.domains.documents.service.files import OpenSession
from app.integrations.storage import Storage, StoredObject
from app.tenancy.sessions import TenantSession

Result = TypeVar("Result")

_ATTEMPTS: Final = 3


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
            content = files.complete(session, file_id, stored)
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
        file = files.pending(session, file_id)
        file.digest, file.md5, file.size = f"sha256:{stored.sha256}", stored.md5, stored.size
        database = session.location.database
        target = files.final_key(database, file_id, stored.sha256)
        if file.state != FileState.PENDING or queries.available_file(session, file.digest):
            return
        file.key = target
    storage.move(source or files.incoming_key(database, file_id), target, version=version)
