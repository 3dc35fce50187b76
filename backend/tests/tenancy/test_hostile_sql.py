"""Hostile SQL with a tenant's own role: none of these statements gets through."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from app.tenancy import migrations
from app.tenancy.locations import TenantLocation
from tests.tenancy.attacks import ATTACKS, Connection, refusal
from tests.tenancy.laboratory import Laboratory

NO_ENTRY = r"permission denied for database|not currently accepting connections"

# Rights, owners and settings: what an attack would have changed.
_SNAPSHOT = """
    SELECT 'database', datname, datacl::text, datdba::text, datistemplate::text, datallowconn::text
    FROM pg_database WHERE datname = ANY(%(names)s)
    UNION ALL
    SELECT 'role', rolname, rolsuper::text, rolcreaterole::text, rolconnlimit::text, rolpassword
    FROM pg_authid WHERE rolname = ANY(%(names)s)
    UNION ALL
    SELECT 'member', granted.rolname, member.rolname, '', '', ''
    FROM pg_auth_members m
    JOIN pg_roles granted ON granted.oid = m.roleid
    JOIN pg_roles member ON member.oid = m.member
    WHERE granted.rolname = ANY(%(names)s) OR member.rolname = ANY(%(names)s)
    UNION ALL
    SELECT 'setting', setdatabase::text, rolname, setconfig::text, '', ''
    FROM pg_db_role_setting JOIN pg_roles r ON r.oid = setrole WHERE rolname = ANY(%(names)s)
    UNION ALL
    SELECT 'relation', oid::regclass::text, relacl::text, relowner::text, relkind::text,
           relrowsecurity::text FROM pg_class WHERE oid >= 16384
    UNION ALL
    SELECT 'schema', nspname, nspacl::text, nspowner::text, '', '' FROM pg_namespace
    UNION ALL
    SELECT 'function', oid::text, proacl::text, '', '', '' FROM pg_proc WHERE oid >= 16384
    UNION ALL
    SELECT 'large object', oid::text, '', '', '', '' FROM pg_largeobject_metadata
    ORDER BY 1, 2, 3
"""


@pytest.fixture(scope="module")
def victim(house: Laboratory, globex: TenantLocation) -> Iterator[Connection]:
    """A session of globex."""
    with house.as_tenant(globex) as connection:
        yield connection


@pytest.fixture(scope="module")
def names(
    house: Laboratory, acme: TenantLocation, globex: TenantLocation, victim: Connection
) -> dict[str, object]:
    """What the braces of an attack stand for."""
    installation = house.installation
    return {
        "acme": acme.database,
        "globex": globex.database,
        "pid": victim.info.backend_pid,
        "template": installation.template(migrations.head()),
        "app": installation.app,
        "platform": installation.platform,
        "provisioner": installation.provisioner,
        "schema_owner": installation.schema_owner,
        "tenant_rw": installation.tenant_rw,
    }


@pytest.fixture
def intruder(house: Laboratory, acme: TenantLocation) -> Iterator[Connection]:
    """Somebody who runs any SQL as acme's role, on a connection like the pool's."""
    credentials = house.manager._logins.of(acme)
    with house.manager.server.connect_as_tenant(acme, credentials) as connection:
        connection.autocommit = True
        yield connection


def test_the_intruder_is_otherwise_at_home(intruder: Connection) -> None:
    """Else every refusal below would mean nothing."""
    assert refusal(intruder, "SELECT * FROM documents") is None
    assert refusal(intruder, "UPDATE documents SET name = 'mine'") is None


@pytest.mark.parametrize("attack", ATTACKS)
def test_refused(intruder: Connection, names: dict[str, object], attack: str) -> None:
    assert refusal(intruder, attack.format(**names)) in ATTACKS[attack]


def test_all_attacks_in_a_row_change_nothing(
    house: Laboratory, intruder: Connection, victim: Connection, names: dict[str, object]
) -> None:
    involved = {"names": [names["acme"], names["globex"], names["schema_owner"]]}
    with house.as_superuser(str(names["acme"])) as superuser:
        before = superuser.execute(_SNAPSHOT, involved).fetchall()
        assert None not in {refusal(intruder, attack.format(**names)) for attack in ATTACKS}
        assert superuser.execute(_SNAPSHOT, involved).fetchall() == before
    victim.execute("SELECT 1")


def test_what_the_intruder_could_do_in_an_unprotected_database(
    house: Laboratory, acme: TenantLocation, names: dict[str, object]
) -> None:
    """The negative control: with PostgreSQL's defaults the same attacks get through."""
    open_to_all = f"{house.installation.id}_unprotected"
    with house.as_superuser() as superuser:
        superuser.execute(
            f"CREATE DATABASE {open_to_all} TEMPLATE template0"
            f" OWNER {house.installation.schema_owner}".encode()
        )
    with house.as_tenant(acme, open_to_all) as connection:
        through = {
            attack for attack in ATTACKS if refusal(connection, attack.format(**names)) is None
        }
    assert {
        "CREATE TEMP TABLE intruder (id int)",
        "DO $$ BEGIN PERFORM 1; END $$",
        "SELECT lo_create(0)",
        "SELECT lo_from_bytea(0, 'x')",
    } <= through
    assert open_to_all in dict(open_to_public(house))
    with house.as_superuser() as superuser:
        superuser.execute(f"DROP DATABASE {open_to_all} WITH (FORCE)".encode())


def test_the_intruder_reaches_no_other_database(
    house: Laboratory, lab: Laboratory, acme: TenantLocation, globex: TenantLocation
) -> None:
    foreign = lab.new_database("initech")
    with house.as_tenant(acme):
        pass
    for database in (
        globex.database,
        house.installation.id,
        house.installation.base_template,
        house.installation.template(migrations.head()),
        lab.installation.id,
        lab.installation.base_template,
        lab.installation.template(migrations.head()),
        foreign.database,
        "postgres",
        "template0",
        "template1",
    ):
        with pytest.raises(psycopg.OperationalError, match=NO_ENTRY):
            house.as_tenant(acme, database)


def open_to_public(house: Laboratory) -> list[tuple[Any, ...]]:
    """Each right that PUBLIC has on a database of the installation or of the server's own."""
    with house.as_superuser() as superuser:
        return superuser.execute(
            """
            SELECT datname, privilege_type
            FROM pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba)))
            WHERE grantee = 0
              AND (datname IN ('postgres', 'template1')
                   OR pg_get_userbyid(datdba) LIKE %s)
            """,
            (f"{house.installation.id}\\_%",),
        ).fetchall()


def test_public_has_nothing_on_any_database(house: Laboratory, acme: TenantLocation) -> None:
    assert open_to_public(house) == []


def test_public_has_nothing_of_ours_inside_a_tenants_database(
    house: Laboratory, acme: TenantLocation
) -> None:
    with house.as_superuser(acme.database) as superuser:
        rows = superuser.execute(
            """
            SELECT 'schema', nspname FROM pg_namespace,
                aclexplode(coalesce(nspacl, acldefault('n', nspowner)))
            WHERE grantee = 0 AND nspname = 'public'
            UNION ALL
            SELECT 'relation', relname FROM pg_class,
                aclexplode(coalesce(relacl, acldefault('r', relowner)))
            WHERE grantee = 0 AND relnamespace = 'public'::regnamespace
            UNION ALL
            SELECT 'function', proname FROM pg_proc,
                aclexplode(coalesce(proacl, acldefault('f', proowner)))
            WHERE grantee = 0 AND (
                pronamespace = 'public'::regnamespace
                OR proname LIKE 'lo\\_%' OR proname IN ('loread', 'lowrite'))
            UNION ALL
            SELECT 'language', lanname FROM pg_language,
                aclexplode(coalesce(lanacl, acldefault('l', lanowner)))
            WHERE grantee = 0 AND lanpltrusted
            """
        ).fetchall()
    assert rows == []


def test_only_the_tenant_and_the_provisioner_enter_its_database(
    house: Laboratory, lab: Laboratory, acme: TenantLocation
) -> None:
    with house.as_superuser() as superuser:
        rows = superuser.execute(
            """
            SELECT rolname FROM pg_roles
            WHERE rolcanlogin AND NOT rolsuper AND has_database_privilege(rolname, %s, 'CONNECT')
            """,
            (acme.database,),
        ).fetchall()
    assert {name for (name,) in rows} == {acme.role, house.installation.provisioner}


def test_a_tenants_role_is_nothing_but_a_login(house: Laboratory, acme: TenantLocation) -> None:
    with house.as_superuser() as superuser:
        attributes = superuser.execute(
            """
            SELECT rolcanlogin, rolinherit, rolsuper, rolcreaterole, rolcreatedb, rolreplication,
                   rolbypassrls, rolconnlimit,
                   ARRAY(SELECT roleid::regrole::text FROM pg_auth_members WHERE member = r.oid)
            FROM pg_roles r WHERE rolname = %s
            """,
            (acme.role,),
        ).fetchone()
    assert attributes == (
        *(True, True, False, False, False, False, False),
        house.settings.tenant_role_connection_limit,
        [house.installation.tenant_rw],
    )


def test_the_group_of_all_tenants_leads_nowhere(
    intruder: Connection, house: Laboratory, globex: TenantLocation
) -> None:
    """SET ROLE to one's own group is allowed; it owns nothing and reaches no other database."""
    group = house.installation.tenant_rw
    assert refusal(intruder, f"SET ROLE {group}") is None
    assert refusal(intruder, "CREATE TABLE intruder (id int)") == "42501"
    assert refusal(intruder, f'SET ROLE "{globex.role}"') == "42501"
    with house.as_superuser() as superuser:
        reachable = superuser.execute(
            "SELECT count(*) FROM pg_database WHERE datallowconn"
            " AND has_database_privilege(%s, oid, 'CONNECT') AND datname LIKE 'tenant%%'",
            (group,),
        ).fetchone()
    assert reachable == (0,)


def test_one_tenant_sees_no_statement_of_another(
    intruder: Connection, victim: Connection, globex: TenantLocation
) -> None:
    victim.execute("SELECT 'a secret of globex'")
    rows = intruder.execute(
        "SELECT DISTINCT query FROM pg_stat_activity WHERE usename = %s", (globex.role,)
    ).fetchall()
    assert rows == [("<insufficient privilege>",)]
