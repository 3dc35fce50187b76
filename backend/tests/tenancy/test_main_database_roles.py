"""The main database's roles: each can do its own work, and SQL injected into it no more."""

from collections.abc import Iterator
from uuid import UUID

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from app.core import ids
from app.tenancy import migrations
from app.tenancy.locations import TenantLocation
from tests.cast import Cast
from tests.tenancy.attacks import Connection, refusal
from tests.tenancy.laboratory import Laboratory

PROTECTED = ("tenants", "user_tenant_associations", "tenant_databases", "tenant_domains")

REFUSED_TO_BOTH = (
    "CREATE TABLE intruder (id int)",
    "CREATE TEMP TABLE intruder (id int)",
    "CREATE SCHEMA intruder",
    "CREATE FUNCTION intruder() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE EXTENSION plpgsql",
    "SELECT * FROM alembic_version",
    "UPDATE alembic_version SET version_num = '9999'",
    "ALTER TABLE tenants DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE tenants NO FORCE ROW LEVEL SECURITY",
    "DROP POLICY reads ON tenants",
    "CREATE POLICY everybody ON tenants USING (true)",
    "ALTER POLICY reads ON tenants USING (true)",
    "TRUNCATE tenants CASCADE",
    "DROP TABLE tenants CASCADE",
    "DROP FUNCTION resolve_access(uuid, uuid)",
    "DROP FUNCTION name_tenant",
    "DROP FUNCTION count_tenants",
    "ALTER FUNCTION resolve_access(uuid, uuid) SECURITY INVOKER",
    "CREATE OR REPLACE FUNCTION resolve_access(a uuid, b uuid) RETURNS int RETURN 1",
    "DELETE FROM platform_audit_entries",
    "UPDATE platform_audit_entries SET user_id = NULL",
    "TRUNCATE platform_audit_entries",
    "INSERT INTO platform_audit_entries SELECT * FROM platform_audit_entries",
    "UPDATE platform_audit_entries SET position = NULL, hash = NULL",
    "SELECT * FROM platform_audit_entries FOR UPDATE",
    "DROP FUNCTION audit_record",
    "DROP FUNCTION audit_append",
    "SELECT audit_commitment(NULL, NULL, NULL)",
    "SELECT FROM alembic_version FOR UPDATE",
    "SET ROLE {main_owner}",
    "SET ROLE {provisioner}",
    "SET ROLE {schema_owner}",
    "SET ROLE {tenant_rw}",
    'SET ROLE "{acme}"',
    "SET SESSION AUTHORIZATION {main_owner}",
    "ALTER ROLE CURRENT_USER BYPASSRLS",
    "CREATE ROLE intruder",
    "CREATE DATABASE intruder",
    'DROP DATABASE "{acme}"',
    "ALTER ROLE \"{acme}\" PASSWORD 'known'",
    "SELECT pg_database_size('{acme}')",
    "SELECT pg_read_file('/etc/passwd')",
    "COPY tenants TO PROGRAM 'cat'",
    "SELECT rolpassword FROM pg_authid",
)


@pytest.fixture
def as_app(house: Laboratory, cast: Cast) -> Iterator[Connection]:
    url = house.settings.database_url.get_secret_value()
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def as_platform(house: Laboratory, cast: Cast) -> Iterator[Connection]:
    url = house.settings.database_platform_url
    assert url is not None
    with psycopg.connect(url.get_secret_value(), autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="module", autouse=True)
def _claims(cast: Cast) -> None:
    """Each tenant claims a domain."""
    for person, house in ((cast.alice, cast.acme), (cast.mallory, cast.globex)):
        domain = {"domain": f"{house.slug}.com"}
        answer = person.post(f"/api/tenants/{house.id}/domains", json=domain)
        assert answer.status_code == 201, answer.text


def act_as(connection: Connection, *, user: UUID | None = None, tenant: UUID | None = None) -> None:
    """What `app.core.db.main_session` says at the start of a transaction, for a whole session."""
    for setting, value in (("app.current_user", user), ("app.current_tenant", tenant)):
        connection.execute("SELECT set_config(%s, %s, false)", (setting, str(value or "")))


def visible(connection: Connection, table: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize("table", PROTECTED)
def test_nothing_is_seen_by_one_who_is_nobody(
    as_app: Connection, as_platform: Connection, table: str
) -> None:
    assert visible(as_app, table) == 0
    assert visible(as_platform, table) >= 2
    # After a SET LOCAL has ended the setting is '', not NULL.
    with as_app.transaction():
        as_app.execute("SELECT set_config('app.current_tenant', %s, true)", (str(ids.new_id()),))
    assert visible(as_app, table) == 0


@pytest.mark.parametrize("table", PROTECTED)
def test_a_tenant_sees_its_own_rows_only(as_app: Connection, cast: Cast, table: str) -> None:
    column = "id" if table == "tenants" else "tenant_id"
    act_as(as_app, tenant=cast.acme.id)
    rows = as_app.execute(f"SELECT DISTINCT {column} FROM {table}".encode()).fetchall()
    assert rows == [(cast.acme.id,)]


def test_a_user_sees_the_tenants_that_he_or_she_belongs_to(as_app: Connection, cast: Cast) -> None:
    act_as(as_app, user=cast.mallory.user_id)
    assert as_app.execute("SELECT id FROM tenants").fetchall() == [(cast.globex.id,)]
    assert visible(as_app, "tenant_databases") == 0


def test_an_invitation_is_its_tenants_and_its_tokens(
    as_app: Connection, as_platform: Connection, cast: Cast
) -> None:
    """Without the tenant, the hash of the token finds the tenant's id, and nothing else does."""
    for house, inviter in ((cast.acme, cast.alice), (cast.globex, cast.mallory)):
        as_platform.execute(
            """
            INSERT INTO invitations (id, tenant_id, email, role, invited_by, token_hash,
                                     expires_at, created_at, updated_at)
            VALUES (%s, %s, %s, 'user', %s, %s, now(), now(), now())
            """,
            (
                ids.new_id(),
                house.id,
                f"{ids.new_id()}@example.com",
                inviter.user_id,
                house.id.bytes,
            ),
        )
    assert visible(as_app, "invitations") == 0
    act_as(as_app, user=cast.mallory.user_id, tenant=cast.globex.id)
    tenants = as_app.execute("SELECT DISTINCT tenant_id FROM invitations").fetchall()
    assert tenants == [(cast.globex.id,)]
    for statement in (
        "UPDATE invitations SET role = 'owner' WHERE tenant_id = %s",
        "DELETE FROM invitations WHERE tenant_id = %s",
    ):
        assert as_app.execute(statement.encode(), (cast.acme.id,)).rowcount == 0
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        as_app.execute("UPDATE invitations SET tenant_id = %s", (cast.acme.id,))
    found = [
        as_app.execute("SELECT invited_to(%s)", (token_hash,)).fetchone()
        for token_hash in (cast.acme.id.bytes, b"unknown", None)
    ]
    assert found == [(cast.acme.id,), (None,), (None,)]
    as_platform.execute(
        "DELETE FROM invitations WHERE token_hash = ANY(%s)",
        ([cast.acme.id.bytes, cast.globex.id.bytes],),
    )


def test_no_write_reaches_another_tenants_rows(
    as_app: Connection, as_platform: Connection, cast: Cast
) -> None:
    act_as(as_app, user=cast.mallory.user_id, tenant=cast.globex.id)
    for statement in (
        "UPDATE tenants SET name = 'taken' WHERE id = %s",
        "DELETE FROM user_tenant_associations WHERE tenant_id = %s",
        "UPDATE tenant_databases SET database = 'taken' WHERE tenant_id = %s",
        "DELETE FROM tenant_databases WHERE tenant_id = %s",
        "UPDATE tenant_domains SET verified_at = now() WHERE tenant_id = %s",
        "DELETE FROM tenant_domains WHERE tenant_id = %s",
    ):
        assert as_app.execute(statement.encode(), (cast.acme.id,)).rowcount == 0
    names = as_platform.execute("SELECT name FROM tenants WHERE id = %s", (cast.acme.id,))
    assert names.fetchall() == [("Acme",)]


def test_nobody_gives_a_domain_away(as_app: Connection, cast: Cast) -> None:
    act_as(as_app, user=cast.mallory.user_id, tenant=cast.globex.id)
    for statement in (
        "UPDATE tenant_domains SET tenant_id = %s",
        (
            "INSERT INTO tenant_domains (id, tenant_id, domain, challenge, created_at, updated_at)"
            " SELECT gen_random_uuid(), %s, 'taken.com', '', now(), now()"
        ),
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            as_app.execute(statement.encode(), (cast.acme.id,))


def test_nobody_makes_himself_a_member(as_app: Connection, cast: Cast) -> None:
    act_as(as_app, user=cast.mallory.user_id, tenant=cast.globex.id)
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
        as_app.execute(
            "INSERT INTO user_tenant_associations VALUES (%s, %s, 'owner', now(), now())",
            (cast.mallory.user_id, cast.acme.id),
        )
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
        as_app.execute(
            "UPDATE user_tenant_associations SET tenant_id = %s WHERE user_id = %s",
            (cast.acme.id, cast.mallory.user_id),
        )


@pytest.mark.parametrize("statement", REFUSED_TO_BOTH)
@pytest.mark.parametrize("role", ["app", "platform"])
def test_refused(
    request: pytest.FixtureRequest,
    house: Laboratory,
    acme: TenantLocation,
    statement: str,
    role: str,
) -> None:
    connection: Connection = request.getfixturevalue(f"as_{role}")
    names = {
        name: getattr(house.installation, name)
        for name in ("main_owner", "provisioner", "schema_owner", "tenant_rw")
    }
    assert refusal(connection, statement.format(acme=acme.database, **names)) in {"42501", "42710"}


@pytest.mark.parametrize(
    "statement",
    [
        "SET row_security = off; SELECT * FROM tenants",
        "SET ROLE {platform}",
        "SELECT audit_seal(10)",
    ],
)
def test_the_application_does_not_get_round_row_level_security(
    as_app: Connection, house: Laboratory, statement: str
) -> None:
    platform = house.installation.platform
    assert refusal(as_app, statement.format(platform=platform)) == "42501"


@pytest.mark.parametrize("role", ["app", "platform", "main_owner"])
def test_no_role_of_the_main_database_enters_a_tenants(
    house: Laboratory, acme: TenantLocation, role: str
) -> None:
    urls = {
        "app": house.settings.database_url,
        "platform": house.settings.database_platform_url,
        "main_owner": house.settings.database_owner_url,
    }
    url = urls[role]
    assert url is not None
    for database in (acme.database, "postgres", house.installation.template(migrations.head())):
        with pytest.raises(psycopg.OperationalError, match=r"permission denied|not currently"):
            psycopg.connect(make_conninfo(url.get_secret_value(), dbname=database))


def test_the_provisioner_does_not_enter_the_main_database(house: Laboratory, cast: Cast) -> None:
    url = house.settings.provisioner_url.get_secret_value()
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(make_conninfo(url, dbname=house.installation.id))


@pytest.mark.parametrize(
    "function",
    [
        "resolve_access(uuid, uuid)",
        "name_tenant(uuid, text, text)",
        "count_tenants()",
        "audit_backlog()",
        "fleet_figures()",
    ],
)
def test_only_the_application_may_ask_who_may_enter(
    as_app: Connection, house: Laboratory, function: str
) -> None:
    """These functions cross row level security, so their callers are counted."""
    rows = as_app.execute(
        """
        SELECT rolname FROM pg_roles
        WHERE has_function_privilege(rolname, %s, 'EXECUTE')
          AND NOT rolsuper AND rolname LIKE %s
        """,
        (function, f"{house.installation.id}\\_%"),
    ).fetchall()
    assert {name for (name,) in rows} == {house.installation.app, house.installation.main_owner}
