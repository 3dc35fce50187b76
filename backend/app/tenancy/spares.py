"""Databases that wait for a tenant: made ahead, and the tenant's own by one change of name.

Until then nobody gets in: the database accepts no connections, its role may not log in and is in no
group. A tenant's claim renames both and gives them what a new tenant's get, in one transaction, by
the same statements.
"""

from typing import Final
from uuid import UUID

from psycopg import errors, sql

from app.tenancy import migrations, provisioning
from app.tenancy.credentials import Credentials
from app.tenancy.locations import TenantLocation
from app.tenancy.names import Installation, read_comment
from app.tenancy.server import Connection, comment_of, statement

MARK: Final = "spare"


def location_of(
    installation: Installation, spare_id: UUID, *, server: str, sealed_credentials: str
) -> TenantLocation:
    """A spare as a tenant of its own id, which it is to whoever makes or drops it."""
    return TenantLocation(
        tenant_id=spare_id,
        server=server,
        database=installation.spare(spare_id),
        sealed_credentials=sealed_credentials,
    )


def create_role(
    connection: Connection, installation: Installation, name: str, credentials: Credentials
) -> None:
    """A role with its password, for which nothing is open."""
    provisioning.at_once(
        connection,
        sql.SQL("CREATE ROLE {role} NOLOGIN PASSWORD {verifier}").format(
            role=sql.Identifier(name), verifier=sql.Literal(credentials.verifier)
        ),
        provisioning.comment_on("ROLE", name, installation.comment(MARK)),
    )


def finish(
    connection: Connection, installation: Installation, name: str, *, statement_timeout_ms: int
) -> None:
    """What a clone needs to wait: its grants, and the mark that says what it is a clone of."""
    mark = installation.comment(MARK, revision=migrations.head(), digest=migrations.digest())
    provisioning.at_once(
        connection,
        *provisioning.database_rights(name, statement_timeout_ms=statement_timeout_ms),
        provisioning.comment_on("DATABASE", name, mark),
    )


def adopt(
    connection: Connection,
    installation: Installation,
    location: TenantLocation,
    *,
    connection_limit: int,
    statement_timeout_ms: int,
) -> str | None:
    """Makes the tenant's spare its database; returns the revision, or None where there is none.

    Raises:
        ObjectInUse: something holds the spare, for longer than the server waits.
    """
    if location.spare_id is None:
        return None
    name = installation.spare(location.spare_id)
    comment = comment_of(connection, name)
    if not installation.owns(comment, MARK):
        return None
    try:
        provisioning.at_once(
            connection,
            statement("ALTER ROLE {old} RENAME TO {new}", old=name, new=location.role),
            statement("ALTER DATABASE {old} RENAME TO {new}", old=name, new=location.database),
            *provisioning.role_rights(
                installation, location.role, connection_limit=connection_limit
            ),
            *provisioning.database_rights(
                location.database, statement_timeout_ms=statement_timeout_ms
            ),
            *provisioning.opening(installation, location),
        )
    except (errors.UndefinedObject, errors.DuplicateObject, errors.DuplicateDatabase):
        return None  # half of it is gone, or the tenant has its own: the other way goes on
    mark = read_comment(comment)
    return mark["revision"] if mark["digest"] == migrations.digest() else ""
