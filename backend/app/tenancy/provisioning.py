"""The steps that make a tenant's role and database, and those that take them away.

CREATE DATABASE cannot run in a transaction, so each step can be repeated: after a crash between
any two of them the whole row of steps is run again and ends in the same state.
"""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, LiteralString

from psycopg import errors, sql

from app.core.errors import Conflict
from app.tenancy.credentials import Credentials
from app.tenancy.locations import TenantLocation, TenantUnavailable
from app.tenancy.names import Installation
from app.tenancy.server import Connection, comment_of, statement

_BUSY_TEMPLATE_DEADLINE_SECONDS: Final = 30.0
_END_SESSIONS_DEADLINE_SECONDS: Final = 10.0


class DatabaseInUse(Conflict):
    """The database has open sessions and force was not asked for."""

    code = "database_in_use"


class TemplateMissing(LookupError):
    """There is no template of this schema revision."""


class NotOurs(RuntimeError):
    """The database belongs to another installation, or to nobody that we know."""

    def __init__(self, database: str) -> None:
        super().__init__(f"{database} is marked as another installation's")


def create_role(
    connection: Connection,
    installation: Installation,
    location: TenantLocation,
    credentials: Credentials,
    *,
    connection_limit: int,
) -> None:
    """The tenant's login, as the registry knows it, whether or not it existed before."""
    verb: LiteralString = "ALTER" if role_exists(connection, location) else "CREATE"
    at_once(
        connection,
        sql.SQL(verb)
        + sql.SQL(" ROLE {role} PASSWORD {verifier}").format(
            role=sql.Identifier(location.role), verifier=sql.Literal(credentials.verifier)
        ),
        *role_rights(installation, location.role, connection_limit=connection_limit),
    )


def role_rights(
    installation: Installation, role: str, *, connection_limit: int
) -> Iterator[sql.Composed]:
    """What makes a role a tenant's."""
    yield statement("ALTER ROLE {role} LOGIN CONNECTION LIMIT ", role=role) + sql.Literal(
        connection_limit
    )
    # A role may change its own defaults.
    yield statement("ALTER ROLE {role} RESET ALL", role=role)
    yield statement("GRANT {group} TO {role}", group=installation.tenant_rw, role=role)
    yield comment_on("ROLE", role, installation.comment("tenant"))


def role_exists(connection: Connection, location: TenantLocation) -> bool:
    found = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (location.role,))
    return found.fetchone() is not None


def create_database(
    connection: Connection, installation: Installation, location: TenantLocation, *, template: str
) -> None:
    """Clones the template; nobody can connect before `open_database`.

    Raises:
        TemplateMissing: the template does not exist.
        NotOurs: a database of this name exists and is marked as somebody else's.
    """
    clone = statement(
        "CREATE DATABASE {database} TEMPLATE {template} OWNER {owner} ALLOW_CONNECTIONS false",
        database=location.database,
        template=template,
        owner=installation.schema_owner,
    )
    deadline = time.monotonic() + _BUSY_TEMPLATE_DEADLINE_SECONDS
    while True:
        try:
            connection.execute(clone)
        except (errors.DuplicateDatabase, errors.UniqueViolation):
            # Which of the two is raised depends on who else is creating it at this moment.
            comment = comment_of(connection, location.database)
            if comment is not None and not installation.owns(comment, "tenant"):
                raise NotOurs(location.database) from None
        except errors.ObjectInUse as error:  # somebody is attached to the template
            if time.monotonic() > deadline:
                raise TenantUnavailable("The template database stays busy.") from error
            time.sleep(random.uniform(0.05, 0.3))  # noqa: S311  # jitter
            continue
        except (errors.InvalidCatalogName, errors.UndefinedObject) as error:
            raise TemplateMissing(template) from error
        return


def open_database(
    connection: Connection,
    installation: Installation,
    location: TenantLocation,
    *,
    statement_timeout_ms: int,
) -> None:
    """The grants that a clone does not inherit, the mark, and then the door."""
    at_once(
        connection,
        *database_rights(location.database, statement_timeout_ms=statement_timeout_ms),
        *opening(installation, location),
    )


def database_rights(name: str, *, statement_timeout_ms: int) -> Iterator[sql.Composed]:
    """What the role of the database's name may do with it, and nobody else."""
    yield statement("REVOKE ALL ON DATABASE {name} FROM PUBLIC", name=name)
    yield statement("GRANT CONNECT ON DATABASE {name} TO {name}", name=name)
    yield statement("ALTER ROLE {name} IN DATABASE {name} SET statement_timeout = ", name=name) + (
        sql.Literal(statement_timeout_ms)
    )


def opening(installation: Installation, location: TenantLocation) -> Iterator[sql.Composed]:
    mark = installation.comment("tenant", tenant=str(location.tenant_id))
    yield comment_on("DATABASE", location.database, mark)
    yield statement("ALTER DATABASE {name} ALLOW_CONNECTIONS true", name=location.database)


def drop_database(connection: Connection, name: str, *, force: bool) -> None:
    """Drops the database, then the role of its name. What is already gone is passed over.

    Raises:
        DatabaseInUse: it has sessions and ``force`` is false.
    """
    try:
        connection.execute(
            statement("DROP DATABASE IF EXISTS {database}", database=name)
            + sql.SQL(" WITH (FORCE)" if force else "")
        )
    except errors.ObjectInUse as error:
        raise DatabaseInUse("The database has open sessions; drop it with force.") from error
    connection.execute(statement("DROP ROLE IF EXISTS {role}", role=name))


def grant_membership(
    connection: Connection, installation: Installation, location: TenantLocation
) -> None:
    """To read and to write."""
    _leave(connection, location, installation.tenant_ro)
    connection.execute(statement("GRANT {rw} TO {role}", **_groups(installation, location)))


def _leave(connection: Connection, location: TenantLocation, *groups: str) -> None:
    """Takes the memberships away that the role has: of others, the server would warn each time."""
    rows = connection.execute(
        """
        SELECT DISTINCT g.rolname FROM pg_auth_members m
        JOIN pg_roles g ON g.oid = m.roleid JOIN pg_roles r ON r.oid = m.member
        WHERE r.rolname = %s AND g.rolname = ANY(%s)
        """,
        (location.role, list(groups)),
    ).fetchall()
    for (group,) in rows:
        connection.execute(statement("REVOKE {group} FROM {role}", group=group, role=location.role))


def shut_out(connection: Connection, installation: Installation, location: TenantLocation) -> None:
    """Takes the role's rights and login away, then ends its sessions, in every process.

    Membership comes first: it stops live sessions, which a lost CONNECT or LOGIN does not.

    Raises:
        TenantUnavailable: there is no such role, or one of its sessions outlived the deadline.
    """
    with _role_expected(), connection.transaction():
        _leave(connection, location, installation.tenant_rw, installation.tenant_ro)
        connection.execute(statement("ALTER ROLE {role} NOLOGIN", role=location.role))
        connection.execute(comment_on("ROLE", location.role, installation.comment("tenant")))
    end_sessions(connection, location)


def make_read_only(
    connection: Connection, installation: Installation, location: TenantLocation
) -> None:
    """Leaves the role its login and the right to read, then ends the sessions that could write.

    The mark is written at the end: done again, it ends no session that began after it.

    Raises:
        TenantUnavailable: there is no such role, or one of its sessions outlived the deadline.
    """
    mark = installation.comment("tenant", access="read-only")
    if _comment_of_role(connection, location) == mark:
        return
    with _role_expected(), connection.transaction():
        _leave(connection, location, installation.tenant_rw)
        for text in ("GRANT {ro} TO {role}", "ALTER ROLE {role} LOGIN"):
            connection.execute(statement(text, **_groups(installation, location)))
    end_sessions(connection, location)
    with _role_expected():
        connection.execute(comment_on("ROLE", location.role, mark))


def can_be_read_only(connection: Connection, installation: Installation) -> bool:
    """Whether the database connected to lets the group of readers read: its schema may be older."""
    row = connection.execute(
        "SELECT has_schema_privilege(rolname, 'public', 'USAGE') FROM pg_roles WHERE rolname = %s",
        (installation.tenant_ro,),
    ).fetchone()
    return bool(row and row[0])


def end_sessions(connection: Connection, location: TenantLocation) -> None:
    """Ends the role's sessions and waits until they are gone.

    Raises:
        TenantUnavailable: one of them outlived the deadline.
    """
    deadline = time.monotonic() + _END_SESSIONS_DEADLINE_SECONDS
    while connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s",
        (location.role,),
    ).fetchall():
        if time.monotonic() > deadline:
            raise TenantUnavailable("Sessions of this tenant do not end.")
        time.sleep(0.02)


def let_in(connection: Connection, installation: Installation, location: TenantLocation) -> None:
    """Undoes `shut_out` and `make_read_only`.

    Raises:
        TenantUnavailable: there is no such role.
    """
    with _role_expected(), connection.transaction():
        grant_membership(connection, installation, location)
        connection.execute(statement("ALTER ROLE {role} LOGIN", role=location.role))
        connection.execute(comment_on("ROLE", location.role, installation.comment("tenant")))


def reset_password(
    connection: Connection, location: TenantLocation, credentials: Credentials
) -> None:
    """Makes the server's verifier that of the registry again: a role may change its password.

    Raises:
        TenantUnavailable: there is no such role; the server asks for a password all the same.
    """
    with _role_expected():
        connection.execute(
            sql.SQL("ALTER ROLE {role} PASSWORD {verifier}").format(
                role=sql.Identifier(location.role), verifier=sql.Literal(credentials.verifier)
            )
        )


def _groups(installation: Installation, location: TenantLocation) -> dict[str, str]:
    return {"rw": installation.tenant_rw, "ro": installation.tenant_ro, "role": location.role}


def _comment_of_role(connection: Connection, location: TenantLocation) -> str | None:
    row = connection.execute(
        "SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = %s",
        (location.role,),
    ).fetchone()
    return None if row is None else row[0]


@contextmanager
def _role_expected() -> Iterator[None]:
    try:
        yield
    except errors.UndefinedObject as error:
        raise TenantUnavailable("This tenant's role is not on its server.") from error


def at_once(connection: Connection, *statements: sql.Composed) -> None:
    """All in one exchange, which is one transaction where none is open."""
    connection.execute(sql.SQL("; ").join(statements), prepare=False)


def comment_on(kind: LiteralString, name: str, comment: str) -> sql.Composed:
    return sql.SQL("COMMENT ON " + kind + " {name} IS {comment}").format(
        name=sql.Identifier(name), comment=sql.Literal(comment)
    )
