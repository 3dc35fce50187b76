"""A tenant's rows on their way to another database of the same schema.

All rows are copied as of one moment, while the tenant is served; then only those that differ. What
differs is found by comparing each row's key and digest in the order of the keys, so that neither
side is held in memory. While rows come in, the copy has no foreign keys and no triggers of ours.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, LiteralString

from psycopg import IsolationLevel, sql

from app.tenancy import contents
from app.tenancy.server import Connection

_BATCH: Final = 1000
_ALL: Final = sql.SQL("")
# Text of a value does not depend on either server's settings, nor its order on their collations.
_FORMAT: Final = """
    SELECT set_config(name, value, false) FROM (VALUES
        ('datestyle', 'ISO, YMD'), ('intervalstyle', 'iso_8601'), ('timezone', 'UTC'),
        ('extra_float_digits', '1'), ('bytea_output', 'hex'), ('search_path', 'public')
    ) format (name, value)
"""
_TABLES: Final = """
    SELECT c.relname,
           (SELECT array_agg(a.attname ORDER BY a.attnum) FROM pg_attribute a
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
              AND a.attgenerated = ''),
           (SELECT array_agg(a.attname ORDER BY k.place) FROM pg_index i
            CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY k (number, place)
            JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.number
            WHERE i.indrelid = c.oid AND i.indisprimary)
    FROM pg_class c
    WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
      AND c.relname <> 'alembic_version'
    ORDER BY c.relname
"""
_SEQUENCES: Final = """
    SELECT format('%I.%I', schemaname, sequencename), last_value FROM pg_sequences
    WHERE schemaname = 'public' AND last_value IS NOT NULL
"""


class CopyDiffers(RuntimeError):
    """The copy does not hold what its original does."""


@dataclass(frozen=True, slots=True)
class Table:
    """Its columns that are written, and those of its primary key."""

    name: str
    columns: list[str]
    key: list[str]

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier("public", self.name)

    @property
    def written(self) -> sql.Composed:
        return sql.SQL(", ").join(map(sql.Identifier, self.columns))

    @property
    def key_text(self) -> sql.Composed:
        """A row's key as one text, in an order that all servers share."""
        key = sql.SQL(", ").join(sql.Identifier("t", name) for name in self.key)
        return sql.SQL('(ROW({})::text COLLATE "C")').format(key)


def tables(connection: Connection) -> list[Table]:
    rows = connection.execute(_TABLES).fetchall()
    return [Table(name, columns, key or []) for name, columns, key in rows]


class Copying:
    """Two connections as the owner, in autocommit: from one database into the other.

    Without ``carries`` every table is copied, else those of whose names it says so.
    """

    def __init__(
        self,
        original: Connection,
        copy: Connection,
        *,
        carries: Callable[[str], bool] = lambda _name: True,
    ) -> None:
        self._original = original
        self._copy = copy
        self._carries = carries
        self._keys: list[str] = []
        for connection in (original, copy):
            connection.execute(_FORMAT)

    def copy_once(self) -> dict[str, int]:
        """Every row as of one moment, while the original is used; the rows of each table.

        Raises:
            CopyDiffers: what came is not what was there.
        """
        self._prepare()
        with self._snapshot():
            for table in self._tables():
                self._copy_rows(table)
            found = self._compare()
        self._settle()
        return found

    def begin(self) -> int:
        """Every row as of one moment; returns how many."""
        self._prepare()
        with self._snapshot():
            return sum(self._copy_rows(table) for table in self._tables())

    def _prepare(self) -> None:
        with self._copy.transaction():
            for drop, add in self._copy.execute(contents.FOREIGN_KEYS).fetchall():
                self._keys.append(add)
                self._copy.execute(drop.encode())
            for table in self._tables():
                self._alter(table, "DISABLE")
                self._copy.execute(sql.SQL("TRUNCATE {}").format(table.identifier))

    def follow(self) -> int:
        """What has changed on one side since; returns how many rows."""
        with self._snapshot():
            return sum(self._follow(table) for table in self._tables())

    def finish(self) -> dict[str, int]:
        """Keys and triggers again; returns the rows of each table, which are the same on both.

        Raises:
            CopyDiffers: they are not.
        """
        self._settle()
        return self._compare()

    def _settle(self) -> None:
        with self._copy.transaction():
            for table in self._tables():
                self._alter(table, "ENABLE")
            for add in self._keys:
                self._copy.execute(add.encode())
            for name, value in self._original.execute(_SEQUENCES).fetchall():
                self._copy.execute("SELECT setval(%s, %s)", (name, value))
        self._copy.execute("ANALYZE")

    def _compare(self) -> dict[str, int]:
        found = {}
        for table in self._tables():
            query = sql.SQL(contents.CONTENT).format(table=table.identifier)
            there, here = (
                connection.execute(query).fetchone() for connection in (self._original, self._copy)
            )
            if there is None or there != here:
                raise CopyDiffers(f"table {table.name} differs: {there} there, {here} here")
            found[table.name] = int(there[0])
        return found

    def _tables(self) -> list[Table]:
        return [table for table in tables(self._copy) if self._carries(table.name)]

    def _alter(self, table: Table, verb: LiteralString) -> None:
        self._copy.execute(
            sql.SQL("ALTER TABLE {} " + verb + " TRIGGER USER").format(table.identifier)
        )

    def _snapshot(self) -> AbstractContextManager[object]:
        self._original.isolation_level = IsolationLevel.REPEATABLE_READ
        self._original.read_only = True
        return self._original.transaction()

    def _follow(self, table: Table) -> int:
        if not table.key:
            self._copy.execute(sql.SQL("TRUNCATE {}").format(table.identifier))
            return self._copy_rows(table)
        changed = 0
        batch: list[str] = []
        for key in self._differing(table):
            batch.append(key)
            if len(batch) == _BATCH:
                self._replace(table, batch)
                changed, batch = changed + len(batch), []
        self._replace(table, batch)
        return changed + len(batch)

    def _differing(self, table: Table) -> list[str]:
        """Keys whose rows are on one side only, or not the same; found before any is replaced."""
        query = sql.SQL("SELECT {key}, md5(t::text) FROM {table} t ORDER BY 1").format(
            key=table.key_text, table=table.identifier
        )
        found: list[str] = []
        with self._copy.transaction():
            there = self._original.cursor("there")
            here = self._copy.cursor("here")
            with there, here:
                for cursor in (there, here):
                    cursor.itersize = 10 * _BATCH
                    cursor.execute(query)
                left, right = iter(there), iter(here)
                one, other = next(left, None), next(right, None)
                while one is not None or other is not None:
                    if other is None or (one is not None and one[0] < other[0]):
                        found.append(one[0])  # type: ignore[index]
                        one = next(left, None)
                    elif one is None or other[0] < one[0]:
                        found.append(other[0])
                        other = next(right, None)
                    else:
                        if one[1] != other[1]:
                            found.append(one[0])
                        one, other = next(left, None), next(right, None)
        return found

    def _replace(self, table: Table, keys: Sequence[str]) -> None:
        if not keys:
            return
        chosen = sql.SQL("{} = ANY({})").format(table.key_text, sql.Literal(list(keys)))
        with self._copy.transaction():
            self._copy.execute(sql.SQL("DELETE FROM {} t WHERE ").format(table.identifier) + chosen)
            self._copy_rows(table, sql.SQL(" WHERE ") + chosen)

    def _copy_rows(self, table: Table, where: sql.Composable = _ALL) -> int:
        rows = sql.SQL("COPY (SELECT {} FROM {} t{}) TO STDOUT (FORMAT binary)").format(
            table.written, table.identifier, where
        )
        into = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
            table.identifier, table.written
        )
        copied = self._copy.cursor()
        with self._original.cursor().copy(rows) as source, copied.copy(into) as sink:
            for chunk in source:
                sink.write(chunk)
        return max(copied.rowcount, 0)
