"""Whether tenants are kept apart: tried, with a tenant's own login, as an intruder would.

What an attempt might change is rolled back, should it be let through.
"""

import re
from collections.abc import Iterator
from typing import Final

import psycopg
from psycopg import sql

from app.tenancy.credentials import Credentials
from app.tenancy.inspection.isolation import Breach
from app.tenancy.locations import TenantLocation
from app.tenancy.server import Connection, Server

# How a server refuses a connection: libpq hands over its English words, and no SQLSTATE.
_REFUSED: Final = re.compile(
    r"permission denied for database|not currently accepting connections|not permitted to log in"
)
_DENIED: Final = "42501"
_NOT_GRANTED: Final = "01007"  # a warning: GRANT by one who holds no grant option does nothing

# In braces: the tenant's own database, another tenant's role, the group that owns all schemas.
STATEMENTS: Final = (
    "CREATE TABLE intruder (id int)",
    "CREATE TEMP TABLE intruder (id int)",
    "CREATE SCHEMA intruder",
    "GRANT CONNECT ON DATABASE {database} TO PUBLIC",
    "GRANT {schema_owner} TO CURRENT_USER",
    "RESET ROLE; SET ROLE {schema_owner}",
    "RESET ROLE; SET ROLE {stranger}",
    "RESET SESSION AUTHORIZATION; SET SESSION AUTHORIZATION {stranger}",
    "UPDATE alembic_version SET version_num = 'intruder'",
    "SELECT lo_create(0)",
    "DO $$ BEGIN PERFORM 1; END $$",
)


def attack(
    server: Server,
    tenant: TenantLocation,
    credentials: Credentials,
    *,
    doors: tuple[str, ...],
    stranger: str,
    shut_out: bool,
) -> Iterator[Breach]:
    """Tries every door, which are databases of others, and every statement in the own one.

    ``shut_out`` says that the tenant is suspended or deleted: its own door is to be shut then.
    """
    for door in doors:
        yield from _try_door(server, tenant, credentials, door)
    yield from _try_password(server, tenant)
    if shut_out:
        yield from _try_door(server, tenant, credentials, tenant.database)
        return
    try:
        connection = server.connect_as_tenant(tenant, credentials, patiently=True)
    except psycopg.OperationalError as error:
        yield Breach("attempt: login", tenant.database, f"{tenant.role} cannot log in: {error}")
        return
    with connection:
        for text in STATEMENTS:
            statement = sql.SQL(text).format(
                database=sql.Identifier(tenant.database),
                schema_owner=sql.Identifier(server.installation.schema_owner),
                stranger=sql.Identifier(stranger),
            )
            if _is_let_through(connection, statement):
                words = f"{tenant.role} may: {statement.as_string(connection)}"
                yield Breach("attempt: statement", tenant.database, words)


def attempts_per_tenant(doors: int) -> int:
    return doors + 1 + len(STATEMENTS)


def _try_door(
    server: Server, tenant: TenantLocation, credentials: Credentials, door: str
) -> Iterator[Breach]:
    try:
        server.connect_as_tenant(tenant, credentials, database=door, patiently=True).close()
    except psycopg.OperationalError as error:
        if not _REFUSED.search(str(error)):
            words = f"whether {tenant.role} may connect to {door} could not be tried: {error}"
            yield Breach("attempt: not made", tenant.database, words)
        return
    yield Breach("attempt: connect", tenant.database, f"{tenant.role} may connect to {door}")


def _try_password(server: Server, tenant: TenantLocation) -> Iterator[Breach]:
    """Whether the server asks for a password at all: a line with ``trust`` undoes everything."""
    try:
        server.connect_as_tenant(tenant, Credentials.generate(), patiently=True).close()
    except psycopg.OperationalError:
        return
    yield Breach("attempt: password", tenant.database, f"{tenant.role} logs in by any password")


def _is_let_through(connection: Connection, statement: sql.Composed) -> bool:
    warnings: list[str | None] = []

    def listen(diagnostic: psycopg.errors.Diagnostic) -> None:
        warnings.append(diagnostic.sqlstate)

    connection.add_notice_handler(listen)
    try:
        connection.execute(statement)
    except psycopg.Error as error:
        return error.sqlstate != _DENIED
    finally:
        connection.remove_notice_handler(listen)
        connection.rollback()
    return _NOT_GRANTED not in warnings
