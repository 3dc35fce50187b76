"""Whether tenants are kept apart: what the server's catalogs say, of all databases and roles.

Read as the provisioner. `attempts` tries the same from the other side.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from app.tenancy.locations import TenantLocation
from app.tenancy.names import Installation
from app.tenancy.server import Connection, Server


@dataclass(frozen=True, slots=True)
class Breach:
    """One thing that should not be. ``ours`` is false where it lies outside the installation."""

    check: str
    subject: str
    words: str
    ours: bool = True


# Of a role: attribute, and what it lets it do.
_POWERS: Final = {
    "rolsuper": "is a superuser",
    "rolbypassrls": "passes over row level security",
    "rolcreatedb": "creates databases",
    "rolcreaterole": "creates roles",
    "rolreplication": "reads the whole server as a replica",
}


def audit_server(
    server: Server, main_database: str, tenants: Collection[TenantLocation]
) -> Iterator[Breach]:
    """Everything that one connection can see: databases, roles, memberships, owners, grants."""
    with server.connect_as_provisioner() as connection:
        yield from _public_rights(connection, server.installation, main_database)
        yield from _database_grants(connection, server.installation, main_database)
        yield from _powers(connection, server.installation, tenants)
        yield from _memberships(connection, server.installation, tenants)
        yield from _holdings(connection, server.installation, tenants)
        yield from _spares(connection, server.installation)


def _public_rights(
    connection: Connection, installation: Installation, main_database: str
) -> Iterator[Breach]:
    """Every role is PUBLIC, so whatever PUBLIC may do in a database every tenant's may."""
    rows = connection.execute(
        """
        SELECT d.datname, pg_get_userbyid(d.datdba), string_agg(g.privilege_type, ', ' ORDER BY 1)
        FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) g
        WHERE g.grantee = 0 AND d.datallowconn
        GROUP BY 1, 2 ORDER BY 1
        """
    ).fetchall()
    for name, owner, rights in rows:
        ours = owner == installation.schema_owner or name in {
            main_database,
            "postgres",
            "template1",
        }
        yield Breach("public rights", name, f"PUBLIC has {rights} on database {name}", ours)


def _database_grants(
    connection: Connection, installation: Installation, main_database: str
) -> Iterator[Breach]:
    """On a tenant's database its own role may CONNECT, and nobody else may anything."""
    rows = connection.execute(
        """
        SELECT d.datname, pg_get_userbyid(g.grantee), g.privilege_type, g.is_grantable
        FROM pg_database d, aclexplode(d.datacl) g
        WHERE g.grantee NOT IN (0, d.datdba)
          AND (pg_get_userbyid(d.datdba) = %s OR d.datname = %s)
        ORDER BY 1, 2, 3
        """,
        (installation.schema_owner, main_database),
    ).fetchall()
    for name, grantee, right, grantable in rows:
        expected = {installation.app, installation.platform} if name == main_database else {name}
        if grantee not in expected or right != "CONNECT" or grantable:
            yield Breach("database grants", name, f"{grantee} has {right} on database {name}")


def _powers(
    connection: Connection, installation: Installation, tenants: Collection[TenantLocation]
) -> Iterator[Breach]:
    rows = connection.execute(
        "SELECT rolname, rolcanlogin, rolsuper, rolbypassrls, rolcreatedb, rolcreaterole,"
        " rolreplication FROM pg_roles WHERE rolname = ANY(%s)",
        (_runtime_roles(installation, tenants),),
    ).fetchall()
    groups = {installation.tenant_rw, installation.tenant_ro, installation.schema_owner}
    for name, may_log_in, *powers in rows:
        for (attribute, words), held in zip(_POWERS.items(), powers, strict=True):
            if held:
                yield Breach("role powers", name, f"{name} {words} ({attribute})")
        if may_log_in and name in groups:
            yield Breach("role powers", name, f"{name} may log in")


def _runtime_roles(installation: Installation, tenants: Collection[TenantLocation]) -> list[str]:
    """All but the provisioner, which needs its powers, and the owner of the main database."""
    return [
        installation.app,
        installation.platform,
        installation.tenant_rw,
        installation.tenant_ro,
        installation.schema_owner,
        *(tenant.role for tenant in tenants),
    ]


def _memberships(
    connection: Connection, installation: Installation, tenants: Collection[TenantLocation]
) -> Iterator[Breach]:
    """A tenant's role is in a group of tenants' roles and in no other; nobody is in it."""
    roles = _runtime_roles(installation, tenants)
    rows = connection.execute(
        """
        SELECT u.rolname, g.rolname, m.admin_option, shobj_description(u.oid, 'pg_authid')
        FROM pg_auth_members m
        JOIN pg_roles u ON u.oid = m.member JOIN pg_roles g ON g.oid = m.roleid
        WHERE u.rolname = ANY(%(roles)s) OR g.rolname = ANY(%(roles)s)
        ORDER BY 1, 2
        """,
        {"roles": roles},
    ).fetchall()
    for member, group, with_admin, comment in rows:
        # By the mark: a tenant may have been made since the ledger was read.
        is_tenants = installation.owns(comment, "tenant")
        of_tenants = group in {installation.tenant_rw, installation.tenant_ro}
        belongs = of_tenants and is_tenants and not with_admin
        # The provisioner makes these roles and acts as the owner.
        if not belongs and member != installation.provisioner:
            yield Breach("memberships", member, f"{member} is a member of {group}")


def _holdings(
    connection: Connection, installation: Installation, tenants: Collection[TenantLocation]
) -> Iterator[Breach]:
    """What a tenant's role owns or was granted, in any database: CONNECT on one, nothing else.

    The server keeps this for all its databases in one shared catalog.
    """
    roles = [*(tenant.role for tenant in tenants), installation.app, installation.platform]
    rows = connection.execute(
        """
        SELECT r.rolname, coalesce(d.datname, ''), s.classid::regclass::text, s.objid,
               s.deptype = 'o', own.datname
        FROM pg_shdepend s JOIN pg_roles r ON r.oid = s.refobjid
        LEFT JOIN pg_database d ON d.oid = s.dbid
        LEFT JOIN pg_database own ON own.oid = s.objid AND s.classid = 'pg_database'::regclass
        WHERE s.refclassid = 'pg_authid'::regclass AND s.deptype IN ('o', 'a')
          AND r.rolname = ANY(%s)
        ORDER BY 1, 2, 3, 4
        """,
        (roles,),
    ).fetchall()
    tenant_roles = {tenant.role for tenant in tenants}
    for role, database, catalog, oid, owns, whole_database in rows:
        where = f"in database {database}" if database else "on the server"
        if owns:
            yield Breach("owned", role, f"{role} owns an object of {catalog} ({oid}) {where}")
        elif role in tenant_roles and whole_database != role:
            what = whole_database or f"an object of {catalog} ({oid}) {where}"
            yield Breach("granted directly", role, f"{role} was granted a right on {what}")


def _spares(connection: Connection, installation: Installation) -> Iterator[Breach]:
    """What waits for a tenant is shut: its database, its role, and every group to its role."""
    names = connection.execute(
        """
        SELECT datname, 'accepts connections' FROM pg_database
        WHERE pg_get_userbyid(datdba) = %(owner)s AND datallowconn
        UNION ALL SELECT rolname, 'may log in' FROM pg_roles WHERE rolcanlogin
        UNION ALL SELECT rolname, 'is in a group' FROM pg_roles
        WHERE oid IN (SELECT member FROM pg_auth_members)
        ORDER BY 1, 2
        """,
        {"owner": installation.schema_owner},
    ).fetchall()
    for name, words in names:
        if installation.spare_id_of(name) is not None:
            yield Breach("spares", name, f"{name} waits for a tenant and {words}")


# In a tenant's database: what its role may do there beyond reading and writing rows.
_INSIDE: Final[Mapping[str, str]] = {
    "schema": """
        SELECT nspname, 'may create in schema ' || nspname FROM pg_namespace
        WHERE has_schema_privilege(%(role)s, oid, 'CREATE')
    """,
    "database": """
        SELECT datname, 'may ' || word || ' in its database' FROM pg_database,
               unnest(ARRAY['CREATE', 'TEMPORARY']) word
        WHERE datname = current_database() AND has_database_privilege(%(role)s, oid, word)
    """,
    "tables": """
        SELECT c.relname, 'may ' || word || ' ' || c.relname FROM pg_class c,
               unnest(ARRAY['TRUNCATE', 'REFERENCES', 'TRIGGER']) word
        WHERE c.relkind IN ('r', 'p', 'v', 'm') AND c.relnamespace = 'public'::regnamespace
          AND has_table_privilege(%(role)s, c.oid, word)
    """,
    "public tables": """
        SELECT c.relname, 'PUBLIC has ' || g.privilege_type || ' on ' || c.relname
        FROM pg_class c, aclexplode(c.relacl) g
        WHERE c.relnamespace = 'public'::regnamespace AND g.grantee = 0
    """,
    "version": """
        SELECT c.relname, 'may ' || word || ' the schema''s version row' FROM pg_class c,
               unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) word
        WHERE c.oid = 'public.alembic_version'::regclass
          AND has_table_privilege(%(role)s, c.oid, word)
    """,
    "large objects": """
        SELECT proname, 'may call ' || oid::regprocedure FROM pg_proc
        WHERE pronamespace = 'pg_catalog'::regnamespace
          AND (proname LIKE 'lo\\_%%' OR proname IN ('loread', 'lowrite'))
          AND has_function_privilege(%(role)s, oid, 'EXECUTE')
    """,
    "languages": """
        SELECT lanname, 'may use the language ' || lanname FROM pg_language
        WHERE lanpltrusted AND has_language_privilege(%(role)s, oid, 'USAGE')
    """,
    # What acts as its owner is handed to the group by name, and finds its tables by a fixed path.
    "definer functions": """
        SELECT p.proname, 'reaches ' || p.oid::regprocedure || ', which acts as its owner and '
               || CASE WHEN g.grantee = 0 THEN 'is open to PUBLIC' ELSE 'has no search_path' END
        FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) g
        WHERE p.prosecdef AND p.pronamespace = 'public'::regnamespace
          AND (g.grantee = 0 OR g.grantee <> p.proowner AND NOT EXISTS (
              SELECT FROM unnest(p.proconfig) c WHERE c LIKE 'search_path=%%'))
    """,
}


def audit_database(server: Server, tenant: TenantLocation) -> Iterator[Breach]:
    """What the tenant's role may do in its own database that it should not.

    Raises:
        ServerUnavailable: it cannot be connected to.
    """
    with server.connect_as_owner(tenant.database) as connection:
        for check, query in _INSIDE.items():
            rows = connection.execute(query.encode(), {"role": tenant.role}).fetchall()
            for _, words in rows:
                yield Breach(f"inside: {check}", tenant.database, f"{tenant.role} {words}")
