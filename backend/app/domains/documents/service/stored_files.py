"""A tenant's stored files for work on its database as a whole, which has the owner's connection."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sqlalchemy import text

from app.domains.documents.errors import ErasureHeld
from app.tenancy.names import lock_key
from app.tenancy.server import Connection
from app.tenancy.sessions import TenantSession

_ERASURE: Final = lock_key("documents", "erasure")
_MAY_ERASE: Final = text("SELECT pg_try_advisory_xact_lock_shared(:key)")
_PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class StoredFile:
    key: str
    sha256: str
    size: int


def hold_erasure(connection: Connection) -> None:
    """From its return on until the connection ends, no file's bytes are erased."""
    connection.execute("SELECT pg_advisory_lock(%s)", (_ERASURE,))


def require_erasure(session: TenantSession) -> None:
    """That bytes may be erased, until the transaction ends.

    Raises:
        ErasureHeld: a backup is being taken that may know them.
    """
    if not session.scalar(_MAY_ERASE, {"key": _ERASURE}):
        raise ErasureHeld("A backup of this tenant is being taken.")


def count(connection: Connection) -> int:
    row = connection.execute("SELECT count(*) FROM files WHERE state = 'available'").fetchone()
    return int(row[0]) if row else 0


def stored(connection: Connection) -> Iterator[StoredFile]:
    """What documents hold, in the transaction that is open; a page of it in memory."""
    with connection.cursor(name="stored_files") as cursor:
        cursor.itersize = _PAGE
        cursor.execute(
            "SELECT key, substr(digest, 8), size FROM files WHERE state = 'available' ORDER BY key"
        )
        for key, sha256, size in cursor:
            yield StoredFile(key, sha256, size)


def move_keys(connection: Connection, *, source: str, target: str) -> None:
    """Lets the rows of a copied database name the files of the copy: a key begins with its name."""
    old, new = f"tenants/{source}/", f"tenants/{target}/"
    connection.execute(
        "UPDATE files SET key = %s || substr(key, %s) WHERE starts_with(key, %s)",
        (new, len(old) + 1, old),
    )


def take_over(connection: Connection, *, target: str) -> bool:
    """`move_keys` from whatever database the rows came from; False where they name several."""
    found = connection.execute("SELECT DISTINCT split_part(key, '/', 2) FROM files LIMIT 2")
    sources = [name for (name,) in found.fetchall()]
    for source in sources[:1]:
        move_keys(connection, source=source, target=target)
    return len(sources) < 2  # noqa: PLR2004  # several


def moved(key: str, *, source: str, target: str) -> str:
    """What `move_keys` makes of a key."""
    return key.replace(f"tenants/{source}/", f"tenants/{target}/", 1)
