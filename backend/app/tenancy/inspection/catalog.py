"""A database's catalog as the SQL that would make it: what two databases are compared by.

Each object is a row with the statement that makes it, the one that takes it away, and, where a
changed one need not be made anew, the one that changes it. All names are qualified, so that the
rows of two databases of one server differ where the databases do, and nowhere else.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.tenancy.server import Connection


@dataclass(frozen=True, slots=True)
class Object:
    """One object of a catalog; ``drops_data`` where taking it away loses rows."""

    create: str
    drop: str
    alter: str | None
    drops_data: bool


# By kind and name.
Catalog = Mapping[tuple[str, str], Object]

_QUERY: Final = Path(__file__).with_name("catalog.sql").read_bytes()


def read_catalog(connection: Connection) -> Catalog:
    """Everything that a migration may make, change or forget, of the database connected to."""
    # An empty path makes the server qualify every name.
    connection.execute("SELECT set_config('search_path', '', false)")
    rows = connection.execute(_QUERY).fetchall()
    return {
        (kind, name): Object(create, drop, alter, data)
        for kind, name, create, drop, alter, data in rows
    }


def fingerprint(catalog: Catalog) -> str:
    """The same for two catalogs exactly when they hold the same objects."""
    digest = hashlib.sha256()
    for (kind, name), each in sorted(catalog.items()):
        digest.update(f"{kind}\0{name}\0{each.create}\0".encode())
    return digest.hexdigest()
