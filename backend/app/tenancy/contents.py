"""What a database holds: each table's rows, counted and hashed, whatever order they lie in."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, LiteralString

from psycopg import sql

from app.tenancy.server import Connection

_TABLES: Final = """
    SELECT relname FROM pg_class
    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'alembic_version'
    ORDER BY relname
"""
# A sum does not depend on the order; of a digest's two halves it is as hard to meet by chance.
CONTENT: Final[LiteralString] = """
    SELECT count(*), coalesce(sum(('x' || left(digest, 16))::bit(64)::bigint::numeric), 0)::text
           || '/' || coalesce(sum(('x' || right(digest, 16))::bit(64)::bigint::numeric), 0)::text
    FROM (SELECT md5(t::text) AS digest FROM {table} t) rows
"""
# How values become text, wherever that is.
_FORMAT: Final = (
    "SET LOCAL datestyle = 'ISO, YMD'; SET LOCAL intervalstyle = 'iso_8601';"
    " SET LOCAL timezone = 'UTC'; SET LOCAL extra_float_digits = 1; SET LOCAL bytea_output = 'hex';"
    " SET LOCAL search_path = public"
)
FOREIGN_KEYS: Final = """
    SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname),
           format('ALTER TABLE %s ADD CONSTRAINT %I %s', conrelid::regclass, conname,
                  pg_get_constraintdef(oid))
    FROM pg_constraint
    WHERE contype = 'f' AND connamespace = 'public'::regnamespace AND conparentid = 0
"""


@dataclass(frozen=True, slots=True)
class Content:
    """The same for two tables exactly when they hold the same rows."""

    rows: int
    digest: str


def tables(connection: Connection) -> list[str]:
    return [name for (name,) in connection.execute(_TABLES).fetchall()]


def read_contents(connection: Connection) -> dict[str, Content]:
    """Every table but the version row's. Needs an open transaction, and reads every row."""
    connection.execute(_FORMAT)
    found = {}
    for name in tables(connection):
        query = sql.SQL(CONTENT).format(table=sql.Identifier("public", name))
        row = connection.execute(query).fetchone()
        if row is not None:
            found[name] = Content(*row)
    return found


@contextmanager
def ready_to_fill(connection: Connection, names: Collection[str] | None = None) -> Iterator[None]:
    """Empties the tables, or all, and lets rows come in any order: no foreign key, no trigger.

    At the end the keys are checked over all rows. The database is nobody's but ours meanwhile.
    """
    names = tables(connection) if names is None else names
    keys = connection.execute(FOREIGN_KEYS).fetchall()
    with connection.transaction():
        for drop, _ in keys:
            connection.execute(drop.encode())
        for name in names:
            table = sql.Identifier("public", name)
            connection.execute(sql.SQL("ALTER TABLE {} DISABLE TRIGGER USER").format(table))
            connection.execute(sql.SQL("TRUNCATE {}").format(table))
    yield
    with connection.transaction():
        for name in names:
            table = sql.Identifier("public", name)
            connection.execute(sql.SQL("ALTER TABLE {} ENABLE TRIGGER USER").format(table))
        for _, add in keys:
            connection.execute(add.encode())
    connection.execute("ANALYZE")
