"""The PostgreSQL server that holds the tenants' databases, and how to talk to it."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Final, LiteralString

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from app.core.errors import Conflict, Unavailable
from app.tenancy.credentials import Credentials
from app.tenancy.locations import TenantLocation, TenantUnavailable
from app.tenancy.names import Installation, lock_key

Connection = psycopg.Connection[tuple[Any, ...]]

_PATIENCE_SECONDS: Final = 1.0


class ServerUnavailable(Unavailable):
    """The server of the tenants' databases cannot be reached."""

    code = "tenant_server_unavailable"


class AlreadyClaimed(Conflict):
    """Only one process at a time does this."""

    code = "already_claimed"


# What libpq says itself, in English always, when nobody answers; what a server says is no sign.
_NO_ANSWER: Final = re.compile(
    r"refused|timeout expired|timed out|could not translate|unreachable|No such file|No route"
    r"|closed the connection unexpectedly|reset by peer"
)


class Reach:
    """Keeps who waits for a server that is away from holding what others need meanwhile.

    One attempt finds out; who comes while it has waited for a second, or within a second after it
    failed, is refused at once. A server that refuses at once keeps nobody waiting.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[object, float] = {}
        self._away_until = 0.0

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Raises: ServerUnavailable: it is not worth waiting just now."""
        ticket, now = object(), time.monotonic()
        with self._lock:
            longest = now - min(self._waiting.values(), default=now)
            if now < self._away_until or longest > _PATIENCE_SECONDS:
                raise ServerUnavailable("This tenant's server does not answer.")
            self._waiting[ticket] = now
        try:
            yield
        except psycopg.OperationalError as error:
            took = time.monotonic() - now
            no_answer = isinstance(error, psycopg.errors.ConnectionTimeout)
            if took > _PATIENCE_SECONDS and (no_answer or _NO_ANSWER.search(str(error))):
                self._away_until = now + took + _PATIENCE_SECONDS
            raise
        finally:
            with self._lock:
                del self._waiting[ticket]


class Server:
    """One server: its address, and connections to it as provisioner, as owner, as a tenant."""

    def __init__(
        self,
        provisioner_url: str,
        installation: Installation,
        *,
        connect_timeout: int,
        statement_timeout_ms: int,
        prepared_statements: bool = True,
    ) -> None:
        self._provisioner: dict[str, Any] = conninfo_to_dict(provisioner_url)
        self.installation = installation
        # As psycopg counts: from which execution on a statement is prepared; None: never.
        self._prepare_threshold = 5 if prepared_statements else None
        self._reach = Reach()
        self._address: dict[str, Any] = {
            key: value
            for key, value in self._provisioner.items()
            if key not in {"user", "password", "dbname", "options"}
        } | {"connect_timeout": connect_timeout, "application_name": "tenantry"}
        if str(self._address.get("host", "")).startswith("/"):
            # libpq would try to negotiate on a Unix socket too, for nothing.
            self._address |= {"sslmode": "disable", "gssencmode": "disable"}
        # Pinned here because a role may change its own defaults, not the startup packet.
        self._tenant_options = (
            "-c search_path=public -c timezone=UTC -c datestyle=ISO -c client_encoding=UTF8"
            " -c role=none -c default_transaction_read_only=off -c local_preload_libraries="
            f" -c statement_timeout={statement_timeout_ms} -c idle_session_timeout=0"
            " -c idle_in_transaction_session_timeout=60s -c lock_timeout=10s"
        )

    def connect_as_provisioner(self, database: str = "postgres") -> Connection:
        """A connection in autocommit.

        Raises:
            ServerUnavailable: the server cannot be reached.
        """
        try:
            return psycopg.connect(
                make_conninfo(**(self._provisioner | self._address | {"dbname": database})),
                autocommit=True,
            )
        except psycopg.OperationalError as error:
            raise ServerUnavailable("The tenants' server cannot be reached.") from error

    def ping(self) -> None:
        """Returns when the server answers.

        Raises:
            ServerUnavailable: it cannot be reached.
        """
        with self.connect_as_provisioner() as connection:
            connection.execute("SELECT 1")

    def owner_url(self, database: str, limits: str = " -c lock_timeout=5s") -> str:
        """A libpq conninfo for a tenant's database as its owner, for migrations."""
        options = f"-c role={self.installation.schema_owner} -c timezone=UTC{limits}"
        return make_conninfo(
            **(self._provisioner | self._address | {"dbname": database, "options": options})
        )

    def connect_as_owner(
        self, database: str, *, lock_timeout_ms: int = 5_000, statement_timeout_ms: int = 0
    ) -> Connection:
        """A connection in autocommit as the owner of a tenant's database; 0 is no limit.

        Raises:
            ServerUnavailable: server or database cannot be reached.
        """
        limits = f" -c lock_timeout={lock_timeout_ms} -c statement_timeout={statement_timeout_ms}"
        try:
            return psycopg.connect(self.owner_url(database, limits), autocommit=True)
        except psycopg.OperationalError as error:
            # What libpq says names the database and no secret.
            raise ServerUnavailable(f"No connection to {database}: {error}") from error

    def connect_as_tenant(
        self,
        location: TenantLocation,
        credentials: Credentials,
        *,
        database: str | None = None,
        patiently: bool = False,
    ) -> Connection:
        """A connection with the tenant's own role; to another database where one is named.

        ``patiently`` is for who has nobody waiting: a server that is slow is waited for.

        Raises:
            psycopg.OperationalError: the server or the tenant's database refuses.
            ServerUnavailable: the server did not answer others a moment ago, or does not yet.
        """
        login = {
            "dbname": database or location.database,
            "user": location.role,
            "options": self._tenant_options,
        }
        with nullcontext() if patiently else self._reach.attempt():
            return psycopg.connect(
                make_conninfo(**(self._address | login | credentials.connect_arguments())),
                prepare_threshold=self._prepare_threshold,
            )

    @contextmanager
    def claimed(self, *resource: str, grace_ms: int = 1) -> Iterator[Connection]:
        """As `locked`, for who would rather be refused than wait.

        The sessions of a killed process end a moment after it: ``grace_ms`` may cover that.

        Raises:
            AlreadyClaimed: another process holds it.
        """
        with self.connect_as_provisioner() as connection:
            connection.execute("SELECT set_config('lock_timeout', %s, false)", (str(grace_ms),))
            try:
                connection.execute("SELECT pg_advisory_lock(%s)", (lock_key(*resource),))
            except psycopg.errors.LockNotAvailable as error:
                raise AlreadyClaimed("Another process does this at the moment.") from error
            connection.execute("SELECT set_config('lock_timeout', '0', false)")
            yield connection

    @contextmanager
    def locked(self, *resource: str) -> Iterator[Connection]:
        """A provisioner's connection that holds the advisory lock of the resource.

        Raises:
            TenantUnavailable: another process has held the lock for 30 seconds.
        """
        with self.connect_as_provisioner() as connection:
            connection.execute("SET lock_timeout = '30s'")
            try:
                connection.execute("SELECT pg_advisory_lock(%s)", (lock_key(*resource),))
            except psycopg.errors.LockNotAvailable as error:
                raise TenantUnavailable("Another process is working on this database.") from error
            # The session ends with the block, and the lock with the session.
            yield connection


def statement(text: LiteralString, **identifiers: str) -> sql.Composed:
    """SQL whose ``{names}`` are quoted as identifiers."""
    return sql.SQL(text).format(**{key: sql.Identifier(name) for key, name in identifiers.items()})


def comment_of(connection: Connection, database: str) -> str | None:
    row = connection.execute(
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s",
        (database,),
    ).fetchone()
    return None if row is None else row[0]


def database_exists(connection: Connection, database: str) -> bool:
    row = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,)).fetchone()
    return row is not None
