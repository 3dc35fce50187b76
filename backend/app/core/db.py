"""The main plane: users, tenants, sessions and the ledger of tenant databases.

Its transactions begin and end here, and nowhere else.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar, cast
from uuid import UUID

import psycopg
from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Connection, Engine, MetaData, Table, text
from sqlalchemy.orm import DeclarativeBase, Mapper, Session
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.util import find_tables

from app.core import deadlines, liveness, tracing
from app.core.errors import AppError, Unavailable
from app.core.questions import Question
from app.settings import Settings

logger = logging.getLogger(__name__)

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"

# In seconds.
LONGEST_STATEMENT: Final = 30

# Constraints carry names that a later migration can address.
NAMING = {
    "ix": "ix_%(column_0_N_label)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class MainModel(DeclarativeBase):
    """A table of the main database."""

    metadata = MetaData(naming_convention=NAMING)


class WrongPlane(TypeError):
    """A table was used through a session of the other plane."""


class PlaneSession(Session):
    """A session that refuses tables of any metadata but its own plane's."""

    plane: ClassVar[MetaData]
    tenant_id: UUID | None = None

    def get_bind(
        self,
        mapper: Any = None,
        *,
        clause: ClauseElement | None = None,
        **options: Any,
    ) -> Any:
        for table in _tables_of(mapper, clause):
            if table.metadata is not self.plane:
                raise WrongPlane(f"{table.name} cannot be used through a {type(self).__name__}")
        return super().get_bind(mapper, clause=clause, **options)

    def another(self) -> "PlaneSession":
        """A new session for the same rows in a transaction of its own."""
        session = type(self)(bind=self.bind, expire_on_commit=False)
        session.tenant_id = self.tenant_id
        return session


def _tables_of(mapper: Any, clause: ClauseElement | None) -> Iterator[Table]:
    if isinstance(mapper, Mapper):
        yield from (table for table in mapper.tables if isinstance(table, Table))
    elif mapper is not None:
        yield mapper.__table__
    if clause is not None:  # also behind a mapper: a statement joins more than its first table
        yield from (
            table
            for table in find_tables(
                clause, include_joins=True, include_selects=True, include_crud=True
            )
            if isinstance(table, Table)
        )


class MainSession(PlaneSession):
    plane = MainModel.metadata


class PlatformUnavailable(Unavailable):
    """This process was given no DATABASE_PLATFORM_URL, so it does no cross-tenant work."""

    code = "platform_unavailable"


db = SQLAlchemy(metadata=MainModel.metadata)
migrate = Migrate()


def init_app(app: Flask, settings: Settings) -> None:
    if settings.sqlalchemy_echo:  # engines look at it when they are made
        logging.getLogger("sqlalchemy.engine").setLevel(logging.INFO)
    options = {
        "pool_size": settings.main_pool_size,
        "max_overflow": 0,
        "pool_timeout": settings.connect_timeout,
        "hide_parameters": True,  # an error's text goes into the log; a statement's values do not
        "connect_args": {
            "connect_timeout": settings.connect_timeout,
            "options": "-c timezone=UTC -c lock_timeout=5s"
            f" -c statement_timeout={LONGEST_STATEMENT}s",
            **({} if settings.prepared_statements else {"prepare_threshold": None}),
        },
    }
    app.config["SQLALCHEMY_DATABASE_URI"] = sqlalchemy_url(settings.database_url.get_secret_value())
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = options
    if settings.database_platform_url is not None:
        platform = sqlalchemy_url(settings.database_platform_url.get_secret_value())
        app.config["SQLALCHEMY_BINDS"] = {
            "platform": {
                "url": platform,
                **options,
                "pool_size": settings.platform_pool_size,
            }
        }
    db.init_app(app)
    migrate.init_app(app, db, directory=str(MIGRATIONS / "main"))
    with app.app_context():
        for engine in db.engines.values():
            deadlines.watch(engine)
            liveness.watch(engine)
            tracing.watch_engine(engine)


def forget_connections() -> None:
    """For a forked child: the parent's connections are not closed, only not used."""
    for engine in db.engines.values():
        engine.dispose(close=False)


def sqlalchemy_url(libpq_uri: str) -> str:
    """The same address for SQLAlchemy with psycopg 3."""
    return "postgresql+psycopg://" + libpq_uri.split("://", 1)[1]


@contextmanager
def main_as_owner(url: str) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """One transaction as the owner of the tables, for what none of the processes may do."""
    with psycopg.connect(url) as connection:
        yield connection


@contextmanager
def main_session(
    *, user_id: UUID | None = None, tenant_id: UUID | None = None
) -> Iterator[MainSession]:
    """One transaction on the main database, committed where the block ends without an error.

    Row level security shows only what belongs to ``user_id`` and ``tenant_id``.
    """
    with transaction(MainSession(bind=db.engine, expire_on_commit=False)) as session:
        session.tenant_id = tenant_id
        if user_id is not None or tenant_id is not None:
            session.execute(_ACT_AS, {"user": _text(user_id), "tenant": _text(tenant_id)})
        yield session


@contextmanager
def platform_session() -> Iterator[MainSession]:
    """One transaction with the role that sees every tenant's rows: for scripts and global jobs.

    Raises:
        PlatformUnavailable: this process holds no such credential.
    """
    with transaction(MainSession(bind=platform_engine(), expire_on_commit=False)) as session:
        yield session


@contextmanager
def main_reads() -> Iterator[Connection]:
    """A connection that reads without a transaction around it: the cheapest single question."""
    with db.engine.connect() as connection:
        yield without_transaction(connection)


def ask_main(question: Question, values: Mapping[str, object]) -> list[Any]:
    """The rows of a question to the main database, without a transaction around it."""
    return question.ask(db.engine, values)


def without_transaction(connection: Connection) -> Connection:
    """Each of its statements stands alone, until it returns to its pool (`liveness.watch`).

    SQLAlchemy's isolation level AUTOCOMMIT says the same, for several times the price.
    """
    cast("psycopg.Connection[Any]", connection.connection.driver_connection).autocommit = True
    return connection


def ping() -> None:
    """Returns when the main database answers, over the pool that requests use."""
    with main_reads() as connection:
        connection.execute(text("SELECT 1"))


def platform_engine() -> Engine:
    engine = db.engines.get("platform")
    if engine is None:
        raise PlatformUnavailable("This process has no DATABASE_PLATFORM_URL.")
    return engine


_ACT_AS = text(
    "SELECT set_config('app.current_user', :user, true),"
    " set_config('app.current_tenant', :tenant, true)"
)


def _text(value: UUID | None) -> str:
    return "" if value is None else str(value)


AnyPlane = TypeVar("AnyPlane", bound=PlaneSession)
AnyError = TypeVar("AnyError", bound=AppError)


@contextmanager
def transaction(session: AnyPlane) -> Iterator[AnyPlane]:
    """Begins and ends the session's one transaction, then does what was put off until then."""
    try:
        with session.begin():
            yield session
    except AppError as error:
        _write_despite(error, session)
        raise
    finally:
        session.close()
    for callback in session.info.pop("after_commit", ()):
        try:
            callback()
        except Exception:  # the write is committed: nothing that follows may make it look failed
            logger.exception("a callback after the commit failed")


def after_commit(session: Session, callback: Callable[[], object]) -> None:
    """Runs the callback once the session's transaction is committed, and never without that."""
    session.info.setdefault("after_commit", []).append(callback)


def record_despite(error: AnyError, write: Callable[[Session], None]) -> AnyError:
    """The error, to be raised; ``write`` runs in a transaction of its own after the rollback."""
    error.despite.append(write)
    error.told = True
    return error


def _write_despite(error: AppError, session: PlaneSession) -> None:
    writes, error.despite = error.despite, []
    if writes:
        with transaction(session.another()) as own:
            for write in writes:
                write(own)
