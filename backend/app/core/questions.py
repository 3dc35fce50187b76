"""Single statements that requests ask again and again, with nothing between them and libpq.

A connection of SQLAlchemy's and a cursor of psycopg's cost several times what the driver needs for
a prepared statement and its rows. Here a question borrows the driver's connection from the engine's
pool, stands alone there (libpq knows no transaction that nobody began), and gives it back.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self, cast

import psycopg
from psycopg import errors, pq
from psycopg.adapt import PyFormat, Transformer
from sqlalchemy import Dialect, Engine
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.sql import ClauseElement

from app.core import deadlines, liveness, tracing

Driver = psycopg.Connection[Any]

_DIALECT: Final[Dialect] = PGDialect_psycopg(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]
_SELECT: Final[tracing.Attributes] = {
    "db.system.name": "postgresql",
    "db.operation.name": "SELECT",
}
_MOST_PREPARED: Final = 100
_PREPARED: Final = "prepared"
# feature_not_supported, since a migration changed what the statement gives; and
# invalid_sql_statement_name, since somebody else forgot it.
_OUTDATED: Final = frozenset({b"0A000", b"26000"})


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A statement whose placeholders, ``$1`` and so on, stand for the values of these names.

    Where ``depends_on_values``, the server makes a plan for the values of each time: one that is
    made for any values may read a whole table for some of them.
    """

    sql: bytes
    names: tuple[str, ...] = ()
    depends_on_values: bool = False
    text: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", self.sql.decode())

    @classmethod
    def of(cls, statement: ClauseElement, *, depends_on_values: bool = False) -> Self:
        compiled = cast("Any", statement.compile(dialect=_DIALECT))
        return cls(str(compiled).encode(), tuple(compiled.positiontup or ()), depends_on_values)

    def ask(
        self, engine: Engine, values: Mapping[str, object], *, tenant: str | None = None
    ) -> list[Any]:
        """The rows, as tuples.

        ``tenant`` is what the connection must belong to: those who listen to statements compare.

        Raises:
            DBAPIError: as SQLAlchemy would.
        """
        record: ConnectionPoolEntry | None = None
        try:
            record = engine.pool._do_get()  # noqa: SLF001  # without the pool's wrapper around it
            driver = liveness.sound_connection(engine, record)
            for listener in engine.dispatch.before_cursor_execute:  # who counts, compares, traces
                listener(Asker(record, tenant), None, self.text, values, None, False)
            deadlines.bound_alone(driver.pgconn, record.info)
            try:
                with tracing.part("SELECT", attributes=_SELECT):
                    return self._rows(driver, record.info, [values[name] for name in self.names])
            finally:
                deadlines.unbound_alone(driver.pgconn, record.info)
        except psycopg.Error as error:
            deadlines.explain(error)
            raise self._translated(error, record) from error
        finally:
            if record is not None:
                liveness.begin_idling(record)
                engine.pool._do_return_conn(record)  # noqa: SLF001

    def _rows(self, driver: Driver, info: dict[Any, Any], values: list[object]) -> list[Any]:
        transformer = Transformer(driver)
        given = transformer.dump_sequence(values, [PyFormat.AUTO] * len(values))
        types, formats = transformer.types or (), transformer.formats
        if self.depends_on_values or driver.prepare_threshold is None:
            result = driver.pgconn.exec_params(self.sql, given, types, formats, pq.Format.BINARY)
        else:
            prepared = info.setdefault(_PREPARED, Prepared(driver.pgconn))
            result = prepared.execute(self.sql, given, types, formats)
        _require(result, pq.ExecStatus.TUPLES_OK, driver.pgconn)
        transformer.set_pgresult(result)
        return transformer.load_rows(0, result.ntuples, tuple)

    def _translated(
        self, error: psycopg.Error, record: ConnectionPoolEntry | None
    ) -> BaseException:
        driver = None if record is None else cast("Driver | None", record.driver_connection)
        lost = driver is None or driver.closed
        if record is not None and lost:
            record.invalidate(error)
        return DBAPIError.instance(
            self.text,
            None,
            error,
            psycopg.Error,
            hide_parameters=True,
            connection_invalidated=lost,
            dialect=_DIALECT,
        )


@dataclass(frozen=True, slots=True)
class Asker:
    """What those who listen to statements see in place of a connection of SQLAlchemy's."""

    connection: ConnectionPoolEntry
    tenant: str | None

    def get_execution_options(self) -> Mapping[str, object]:
        return {"tenant": self.tenant}


class Prepared:
    """The statements that are prepared on one connection: so many, the oldest one goes first."""

    def __init__(self, pgconn: pq.abc.PGconn) -> None:
        self._pgconn = pgconn
        self._names: dict[tuple[bytes, tuple[int, ...]], bytes] = {}
        self._made = 0

    def execute(
        self, sql: bytes, given: Any, types: tuple[int, ...], formats: Any
    ) -> pq.abc.PGresult:
        name = self._names.get((sql, types)) or self._prepare(sql, types)
        result = self._pgconn.exec_prepared(name, given, formats, pq.Format.BINARY)
        if result.error_field(pq.DiagnosticField.SQLSTATE) in _OUTDATED:
            self._forget((sql, types))
            name = self._prepare(sql, types)
            result = self._pgconn.exec_prepared(name, given, formats, pq.Format.BINARY)
        return result

    def _prepare(self, sql: bytes, types: tuple[int, ...]) -> bytes:
        if len(self._names) >= _MOST_PREPARED:
            self._forget(next(iter(self._names)))
        self._made += 1
        name = b"question_%d" % self._made
        result = self._pgconn.prepare(name, sql, types)
        _require(result, pq.ExecStatus.COMMAND_OK, self._pgconn)
        self._names[sql, types] = name
        return name

    def _forget(self, statement: tuple[bytes, tuple[int, ...]]) -> None:
        """One that the server does not know any more is forgotten as well."""
        self._pgconn.exec_(b"DEALLOCATE " + self._names.pop(statement))


def _require(result: pq.abc.PGresult, status: pq.ExecStatus, pgconn: pq.abc.PGconn) -> None:
    if result.status == status:
        return
    if pgconn.status == pq.ConnStatus.BAD:
        raise psycopg.OperationalError(pgconn.get_error_message())
    raise errors.error_from_result(result)
