"""What lies on a tenants' server: this installation's databases and roles."""

from dataclasses import dataclass
from uuid import UUID

from app.tenancy.names import tenant_id_of
from app.tenancy.server import Server


@dataclass(frozen=True, slots=True)
class Inventory:
    """An installation's tenant databases and roles by name; which of these may log in, or write.

    ``spares`` are those of the pool by id, whole or not; ``whole_spares`` have database and role.
    """

    databases: frozenset[str]
    roles: frozenset[str]
    open_roles: frozenset[str]
    writers: frozenset[str]
    spares: frozenset[UUID]
    whole_spares: frozenset[UUID]


def take_inventory(server: Server) -> Inventory:
    """Everything of this installation, finished or not, and nothing of any other.

    A database is ours by its owner, which it has from its first moment; a role by its comment,
    written in the transaction that makes it.
    """
    installation = server.installation
    with server.connect_as_provisioner() as connection:
        databases = connection.execute(
            "SELECT datname FROM pg_database WHERE pg_get_userbyid(datdba) = %s",
            (installation.schema_owner,),
        ).fetchall()
        roles = connection.execute(
            "SELECT rolname, rolcanlogin, shobj_description(oid, 'pg_authid'),"
            " EXISTS (SELECT FROM pg_auth_members WHERE member = r.oid"
            " AND roleid = %s::regrole) FROM pg_roles r",
            (installation.tenant_rw,),
        ).fetchall()
    ours = {
        name: (may_log_in, may_write)
        for name, may_log_in, comment, may_write in roles
        if _is_tenants(name) and installation.owns(comment, "tenant")
    }
    with_database, with_role = (
        {id_ for name, *_ in rows if (id_ := installation.spare_id_of(name)) is not None}
        for rows in (databases, roles)
    )
    return Inventory(
        databases=frozenset(name for (name,) in databases if _is_tenants(name)),
        roles=frozenset(ours),
        open_roles=frozenset(name for name, (may_log_in, _) in ours.items() if may_log_in),
        writers=frozenset(name for name, (_, may_write) in ours.items() if may_write),
        spares=frozenset(with_database | with_role),
        whole_spares=frozenset(with_database & with_role),
    )


def database_sizes(server: Server) -> dict[str, int]:
    """Bytes on disk of this installation's tenant databases, by name."""
    with server.connect_as_provisioner() as connection:
        rows = connection.execute(
            "SELECT datname, pg_database_size(oid) FROM pg_database"
            " WHERE pg_get_userbyid(datdba) = %s",
            (server.installation.schema_owner,),
        ).fetchall()
    return {name: size for name, size in rows if _is_tenants(name)}


def _is_tenants(name: str) -> bool:
    try:
        tenant_id_of(name)
    except ValueError:
        return False
    return True
