"""The checkpoints of the platform's trail: in the store, out of reach of the main database's roles.

The last of each day stays. Which is the last is in their names; what a name says is not believed.
"""

from collections.abc import Iterator
from typing import Final

from app.core.errors import NotFound
from app.domains.audit.service.checkpoints import Checkpoint, Signer, Statement
from app.integrations.storage import Storage

_FOLDER: Final = "audit/platform"
_LONGEST: Final = 64 * 1024


def put(storage: Storage, signer: Signer, statement: Statement) -> bool:
    """Signs and stores it, unless it is there; then deletes those of the same day before it."""
    day = f"{_FOLDER}/{statement.sealed_at[:10]}"
    key = f"{day}/{statement.position:019d}"
    former = list(storage.keys(day))
    if key in former:
        return False
    storage.put(key, [signer.sign(statement).dumps()])
    for each in former:
        if each < key:
            storage.delete(each)
    return True


def newest(storage: Storage, *, limit: int) -> Iterator[Checkpoint]:
    """The newest first."""
    for key in sorted(storage.keys(_FOLDER), reverse=True)[:limit]:
        found = _loaded(storage, key)
        if found is not None:
            yield found


def read(storage: Storage) -> Iterator[Checkpoint]:
    """All of them, the oldest first.

    Raises:
        ValueError: one of them is none.
    """
    for key in storage.keys(_FOLDER):
        found = _loaded(storage, key)
        if found is not None:
            yield found


def _loaded(storage: Storage, key: str) -> Checkpoint | None:
    """None where a later one has taken its place."""
    try:
        with storage.open(key) as file:
            return Checkpoint.loads(file.read(_LONGEST))
    except NotFound:
        return None
