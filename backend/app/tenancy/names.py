"""Names of roles and databases on a PostgreSQL server.

Roles and databases are visible to all who share a server, so each carries its installation's id,
in its name or in its comment; reconciliation touches nothing else.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Final
from uuid import UUID

# PostgreSQL cuts identifiers at NAMEDATALEN - 1 bytes.
MAXIMUM_BYTES: Final = 63
_PREFIX: Final = "tenant_"
_HEX: Final = re.compile(r"[0-9a-f]{32}")
_TENANT_ID: Final = re.compile(r"tenant_(?:[a-z0-9_]+_)?([0-9a-f]{32})")


@dataclass(frozen=True, slots=True)
class Installation:
    """One deployment of the product; several may share a server."""

    id: str

    @property
    def main_owner(self) -> str:
        """Owns the main database's tables; used by its migrations only."""
        return f"{self.id}_main_owner"

    @property
    def app(self) -> str:
        """Reads and writes the main database under row level security."""
        return f"{self.id}_app"

    @property
    def platform(self) -> str:
        """Reads and writes every tenant's rows of the main database."""
        return f"{self.id}_platform"

    @property
    def provisioner(self) -> str:
        """Creates and drops tenants' roles and databases; no superuser."""
        return f"{self.id}_provisioner"

    @property
    def schema_owner(self) -> str:
        """Owns every tenant database and its tables; cannot log in."""
        return f"{self.id}_schema_owner"

    @property
    def tenant_rw(self) -> str:
        """What a tenant's own role may do: read and write rows; cannot log in."""
        return f"{self.id}_tenant_rw"

    @property
    def tenant_ro(self) -> str:
        """What it may do instead while the tenant is read-only; cannot log in."""
        return f"{self.id}_tenant_ro"

    @property
    def base_template(self) -> str:
        """An empty database with what only a superuser can take away from PUBLIC taken away."""
        return f"{self.id}_base"

    def template(self, revision: str) -> str:
        return f"{self.id}_tpl_{revision}"

    def scratch(self, scratch_id: UUID) -> str:
        """A database that lives as long as one look at it, or one rehearsal."""
        return f"{self.id}_scratch_{scratch_id.hex}"

    def is_scratch(self, database: str) -> bool:
        return database.startswith(f"{self.id}_scratch_")

    def spare(self, spare_id: UUID) -> str:
        """A database, and its role, that wait for a tenant and get its name then."""
        return f"{self.id}_spare_{spare_id.hex}"

    def spare_id_of(self, name: str) -> UUID | None:
        """None where it is no spare's name."""
        rest = name.removeprefix(f"{self.id}_spare_")
        return UUID(rest) if rest != name and _HEX.fullmatch(rest) else None

    def comment(self, kind: str, **more: str) -> str:
        """The mark on everything that belongs to this installation."""
        return json.dumps({"tenantry": self.id, "kind": kind, **more}, sort_keys=True)

    def owns(self, comment: str | None, kind: str) -> bool:
        mark = read_comment(comment)
        return mark.get("tenantry") == self.id and mark.get("kind") == kind


def read_comment(comment: str | None) -> dict[str, str]:
    """The mark in a comment; empty where the comment is somebody else's."""
    try:
        mark = json.loads(comment or "{}")
    except ValueError:
        return {}
    return mark if isinstance(mark, dict) else {}


def tenant_database_name(slug: str, tenant_id: UUID, *, opaque: bool = False) -> str:
    """``tenant_{slug}_{uuid}``, or ``tenant_{uuid}`` where customers' names must not show.

    The slug is cut so that any fits into 63 bytes; the UUID keeps the name unique.
    """
    room = MAXIMUM_BYTES - len(_PREFIX) - len(tenant_id.hex) - 1
    plain = re.sub(r"[^a-z0-9]+", "_", slug.lower())[:room].strip("_")
    if opaque or not plain:
        return f"{_PREFIX}{tenant_id.hex}"
    return f"{_PREFIX}{plain}_{tenant_id.hex}"


def database_beside(slug: str, tenant_id: UUID, place: UUID, *, opaque: bool = False) -> str:
    """The name of another database of the tenant's, of which there may be several."""
    # The end of an id is the part that chance has made.
    mark = place.hex[-8:]
    room = MAXIMUM_BYTES - len(_PREFIX) - len(tenant_id.hex) - len(mark) - 2
    return tenant_database_name(mark if opaque else f"{slug[:room]}-{mark}", tenant_id)


def tenant_id_of(database: str) -> UUID:
    """The tenant whose database this is, read from the name.

    Raises:
        ValueError: it is no tenant database's name.
    """
    match = _TENANT_ID.fullmatch(database)
    if match is None:
        raise ValueError(f"{database!r} is no name of a tenant database")
    return UUID(match[1])


def lock_key(*parts: str) -> int:
    """A key for pg_advisory_lock: the first eight bytes of a digest, signed."""
    digest = hashlib.sha256("/".join(("tenantry", *parts)).encode()).digest()
    return int.from_bytes(digest[:8], signed=True)
