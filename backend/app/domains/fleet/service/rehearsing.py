"""Tries a migration on copies of the largest tenants' databases, and times it.

A copy is read in one snapshot, so its tenant's sessions are neither ended nor made to wait.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from psycopg import IsolationLevel, sql

from app.domains.fleet.service import planning
from app.domains.fleet.service.planning import Order
from app.domains.fleet.service.running import claimed
from app.tenancy import templates
from app.tenancy.manager import TenantDatabaseManager
from app.tenancy.migrations import applying, tree
from app.tenancy.migrations.applying import MigrationFailed
from app.tenancy.migrations.rendering import Recipe
from app.tenancy.server import Connection, Server, ServerUnavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """One copy: ``size`` in bytes of the original, seconds to copy it and to migrate the copy."""

    database: str
    size: int
    copied_in: float
    migrated_in: float
    error: str | None


def rehearse(manager: TenantDatabaseManager, order: Order, *, largest: int) -> Iterator[Rehearsal]:
    """The order on copies of its largest tenants, one after the other; the copies are dropped.

    Raises:
        RunInProgress, BadOrder: as a run.
    """
    with claimed(manager):
        for server in manager.servers.all().values():
            with suppress(ServerUnavailable):
                templates.discard_scratch(server)
        entries = planning.plan(manager, order).entries
        sizes = manager.servers.sizes()
        by_size = sorted(entries, key=lambda each: -sizes.get(each.location.database, 0))
        recipe = Recipe(
            tree.current(),
            manager.installation,
            order.target,
            downwards=order.downgrade_to is not None,
        )
        for entry in by_size[:largest]:
            name = entry.location.database
            server = manager.server_of(entry.location)
            yield _rehearse(manager, server, name, sizes.get(name, 0), recipe)


def _rehearse(
    manager: TenantDatabaseManager, server: Server, database: str, size: int, recipe: Recipe
) -> Rehearsal:
    start = time.monotonic()
    with server.connect_as_owner(database) as original:
        revision = applying.read_version(original)
        with templates.scratch(server, revision) as copy:
            copy_rows(original, server, copy)
            copied = time.monotonic()
            error = None
            try:
                applying.migrate(server, copy, recipe, manager.patience)
            except MigrationFailed as failure:
                error = str(failure)
            migrated = time.monotonic()
    return Rehearsal(
        database=database,
        size=size,
        copied_in=copied - start,
        migrated_in=migrated - copied,
        error=error,
    )


def copy_rows(original: Connection, server: Server, name: str) -> None:
    """Fills a database of the same schema with the rows of the original, as of one moment."""
    original.isolation_level, original.read_only = IsolationLevel.REPEATABLE_READ, True
    with (
        server.connect_as_owner(name) as copy,
        original.transaction(),
        copy.transaction(),
    ):
        # A row may refer to a table whose turn comes later.
        keys = _without_foreign_keys(copy)
        for table in _tables(original):
            _copy_table(original, copy, table)
        for statement in keys:
            copy.execute(statement.encode())
    with server.connect_as_owner(name) as copy:
        copy.execute("ANALYZE")


def _tables(connection: Connection) -> Sequence[tuple[str, list[str]]]:
    """Each table with the columns that rows bring along."""
    return connection.execute(
        """
        SELECT c.relname, array_agg(a.attname ORDER BY a.attnum)
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
          AND c.relname <> 'alembic_version'
          AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
        GROUP BY c.relname ORDER BY c.relname
        """
    ).fetchall()


def _without_foreign_keys(copy: Connection) -> list[str]:
    """Drops them, and returns the statements that put them back."""
    rows = copy.execute(
        """
        SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname),
               format('ALTER TABLE %s ADD CONSTRAINT %I %s', conrelid::regclass, conname,
                      pg_get_constraintdef(oid))
        FROM pg_constraint
        WHERE contype = 'f' AND connamespace = 'public'::regnamespace AND conparentid = 0
        """
    ).fetchall()
    for drop, _ in rows:
        copy.execute(drop.encode())
    return [add for _, add in rows]


def _copy_table(original: Connection, copy: Connection, table: tuple[str, list[str]]) -> None:
    name, columns = table
    named = sql.SQL("{} ({})").format(
        sql.Identifier("public", name), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    # What a migration of data left there already.
    copy.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier("public", name)))
    with (
        original.cursor().copy(sql.SQL("COPY {} TO STDOUT (FORMAT binary)").format(named)) as rows,
        copy.cursor().copy(sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(named)) as into,
    ):
        for chunk in rows:
            into.write(chunk)
