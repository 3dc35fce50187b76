"""Brings one database to a revision: in one transaction with its version row, where that can be."""

import random
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from psycopg import Cursor, Error, errors, sql

from app.tenancy.locations import TenantUnavailable
from app.tenancy.migrations.rendering import Recipe, Step
from app.tenancy.names import lock_key
from app.tenancy.server import Connection, Server, ServerUnavailable

_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 5.0
_READ_VERSION: Final = "SELECT version_num FROM public.alembic_version"


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait for a lock and for a statement, and how often to try again."""

    lock_timeout_ms: int = 5_000
    statement_timeout_ms: int = 0
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class Passage:
    """Where a database was, where it is now, and how many attempts it took."""

    source: str | None
    target: str | None
    attempts: int


class MigrationFailed(RuntimeError):
    """The database stays where its version row says; ``attempts`` were made."""

    def __init__(self, cause: Exception, attempts: int) -> None:
        super().__init__(_in_words(cause))
        self.attempts = attempts


def _in_words(error: Exception) -> str:
    """Without the server's DETAIL and CONTEXT, which show rows of the tenant's."""
    primary = error.diag.message_primary if isinstance(error, Error) else None
    return f"{type(error).__name__}: {primary or str(error).strip()}"


class AnotherMigrator(TenantUnavailable):
    """Somebody else migrates this database at this moment."""


class WrongVersion(RuntimeError):
    """The version row changed although its lock was held."""


def migrate(server: Server, database: str, recipe: Recipe, patience: Patience) -> Passage:
    """Brings the database to the recipe's target, from wherever its version row says it is.

    Waits for no lock longer than it is told: a statement that waits for a table's lock makes all
    that come after it wait too, so it gives up, lets them pass, and tries again.

    Raises:
        MigrationFailed: an error that trying again does not help, or too many attempts.
    """
    pause = _FIRST_PAUSE_SECONDS
    attempt = 1
    while True:
        try:
            return _attempt(server, database, recipe, patience, attempt)
        except Exception as error:
            if attempt >= patience.attempts or not _may_pass(error):
                raise MigrationFailed(error, attempt) from error
        time.sleep(random.uniform(pause / 2, pause))  # noqa: S311  # jitter
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        attempt += 1


def _may_pass(error: Exception) -> bool:
    """Whether another attempt may do: locks held by others, connections that break."""
    if isinstance(error, errors.QueryCanceled):
        return False  # it took longer than it may, and will again
    return isinstance(error, errors.OperationalError | AnotherMigrator | ServerUnavailable)


def _attempt(
    server: Server, database: str, recipe: Recipe, patience: Patience, attempt: int
) -> Passage:
    with server.connect_as_owner(
        database,
        lock_timeout_ms=patience.lock_timeout_ms,
        statement_timeout_ms=patience.statement_timeout_ms,
    ) as connection:
        source = _lock_and_read(connection)
        for alone, steps in groupby(
            recipe.steps_from(source), key=lambda step: step.revision.autocommit
        ):
            if alone:
                _run_alone(connection, recipe, steps)
            else:
                _run_together(connection, recipe, list(steps))
        return Passage(source, recipe.target, attempt)


def _lock_and_read(connection: Connection) -> str | None:
    """The database's revision, with the right to change it, in one exchange.

    The lock is the session's, since some steps commit; and not waited for, because a session that
    waits holds a snapshot, which CREATE INDEX CONCURRENTLY would wait for in turn.

    Raises:
        AnotherMigrator: somebody else has that right.
    """
    lock = f"SELECT pg_try_advisory_lock({lock_key('migrate')})"
    try:
        cursor = connection.execute(f"{lock}; {_READ_VERSION}".encode(), prepare=False)
        row, source = cursor.fetchone(), None
        cursor.nextset()
        source = _only(cursor.fetchall())
    except errors.UndefinedTable:  # an empty database; the lock was taken all the same
        row, source = connection.execute(lock.encode()).fetchone(), None
    if row != (True,):
        raise AnotherMigrator("Another process migrates this database.")
    return source


def _run_together(connection: Connection, recipe: Recipe, steps: Sequence[Step]) -> None:
    """In one transaction, sent in one exchange and committed by another.

    Only a step of Python parts what is sent. The version row has the last word before the commit.
    """
    texts = ["BEGIN"]
    for step in steps:
        if step.statements is None:
            _send(connection, texts)
            texts = []
            recipe.run(step, connection)
        texts += [*(step.statements or ()), *_version_statements(step)]
    cursor = _send(connection, [*texts, _READ_VERSION])
    reached = _only(cursor.fetchall())
    if reached != steps[-1].target:
        raise WrongVersion(f"the version row is at {reached} instead of {steps[-1].target}")
    connection.execute("COMMIT", prepare=False)


def _send(connection: Connection, texts: Sequence[str]) -> Cursor[tuple[Any, ...]]:
    """All in one exchange; the cursor is at the last result. A text may end as a comment."""
    cursor = connection.execute("\n;\n".join(texts).encode(), prepare=False)
    while cursor.nextset():
        pass
    return cursor


def _run_alone(connection: Connection, recipe: Recipe, steps: Iterable[Step]) -> None:
    """Outside of transactions: a step may have been interrupted, and is done again as a whole."""
    for step in steps:
        drop_invalid_indexes(connection)
        if step.statements is None:
            recipe.run(step, connection)
        for text in (*(step.statements or ()), *_version_statements(step)):
            connection.execute(text.encode(), prepare=False)
        if read_version(connection) != step.target:
            raise WrongVersion(f"the version row is not at {step.target}")


def drop_invalid_indexes(connection: Connection) -> None:
    """What an interrupted CREATE INDEX CONCURRENTLY leaves: an index that only costs."""
    rows = connection.execute(
        """
        SELECT n.nspname, c.relname FROM pg_index i
        JOIN pg_class c ON c.oid = i.indexrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE NOT i.indisvalid AND c.relkind = 'i' AND n.nspname = 'public'
        """
    ).fetchall()
    for name in rows:
        connection.execute(
            sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.Identifier(*name))
        )


def read_version(connection: Connection) -> str | None:
    """The revision of the database; None where it holds no schema yet."""
    try:
        return _only(connection.execute(_READ_VERSION.encode()).fetchall())
    except errors.UndefinedTable:
        return None


def _only(rows: Sequence[tuple[Any, ...]]) -> str | None:
    if len(rows) > 1:
        raise WrongVersion("the database has more than one version row")
    return rows[0][0] if rows else None


def _version_statements(step: Step) -> Iterator[str]:
    """What writes down that the step was taken."""
    if step.source is None:
        # As Alembic makes it, so that its own commands work on the database too.
        yield (
            "CREATE TABLE IF NOT EXISTS public.alembic_version (version_num varchar(32) NOT NULL"
            " CONSTRAINT alembic_version_pkc PRIMARY KEY)"
        )
        text = sql.SQL("INSERT INTO public.alembic_version VALUES ({target})")
    elif step.target is None:
        text = sql.SQL("DELETE FROM public.alembic_version WHERE version_num = {source}")
    else:
        text = sql.SQL(
            "UPDATE public.alembic_version SET version_num = {target} WHERE version_num = {source}"
        )
    ends = {"source": sql.Literal(step.source), "target": sql.Literal(step.target)}
    yield text.format(**ends).as_string()
