"""What a tenant's role can still do, and why it harms nobody but that tenant, and not for long."""

from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import select, text

from app.core import ids
from app.domains.documents.models import Document, File, FileState
from app.tenancy.locations import TenantLocation
from tests.tenancy.attacks import Connection, refusal
from tests.tenancy.laboratory import Laboratory

NAME = "naïve \\ 'name'"

# Settings that would stop our own work, with a value that does.
PINNED = {
    "search_path": "pg_temp",
    "statement_timeout": "1ms",
    "lock_timeout": "1ms",
    "idle_in_transaction_session_timeout": "1ms",
    "idle_session_timeout": "1ms",
    "default_transaction_read_only": "on",
    "role": "{tenant_rw}",
    "timezone": "Pacific/Kiritimati",
    "datestyle": "German",
    "client_encoding": "SQL_ASCII",
    "local_preload_libraries": "nothing",
}


@pytest.fixture(scope="module")
def mallory(lab: Laboratory) -> TenantLocation:
    """A tenant whose role is in hostile hands."""
    return lab.new_database("mallory")


@pytest.fixture
def hostile(lab: Laboratory, mallory: TenantLocation) -> Iterator[Connection]:
    with lab.as_tenant(mallory) as connection:
        yield connection
    lab.manager.create_tenant_database(mallory)
    lab.manager.pool.close_tenant(mallory.database)


def works_as_usual(lab: Laboratory, location: TenantLocation) -> None:
    """Writes a document and reads it back, on a new connection of the pool."""
    lab.manager.pool.close_tenant(location.database)
    file = File(key=ids.new_id().hex, state=FileState.PENDING)
    with lab.manager.tenant_db_session(location) as session:
        session.add(file)
        session.flush()
        session.add(
            Document(file_id=file.id, name=NAME, content_type="x", size=0, owner_id=file.id)
        )
    with lab.manager.tenant_db_session(location) as session:
        document = session.scalars(select(Document).where(Document.file_id == file.id)).one()
        assert document.name == NAME
        assert document.created_at.tzinfo is not None


@pytest.mark.parametrize("password", ["'known to the intruder'", "NULL"])
def test_it_may_change_its_own_password_and_the_next_connection_undoes_that(
    lab: Laboratory, mallory: TenantLocation, hostile: Connection, password: str
) -> None:
    assert refusal(hostile, f"ALTER ROLE CURRENT_USER PASSWORD {password}") is None
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        lab.as_tenant(mallory)
    works_as_usual(lab, mallory)
    with lab.as_tenant(mallory):
        pass


@pytest.mark.parametrize(("setting", "value"), PINNED.items())
def test_it_may_change_its_own_defaults_and_our_connections_do_not_take_them(
    lab: Laboratory, mallory: TenantLocation, hostile: Connection, setting: str, value: str
) -> None:
    value = value.format(tenant_rw=lab.installation.tenant_rw)
    assert refusal(hostile, f"ALTER ROLE CURRENT_USER SET {setting} = '{value}'") is None
    works_as_usual(lab, mallory)
    with lab.manager.tenant_db_session(mallory) as session:
        assert not str(session.scalar(text(f"SHOW {setting}"))).startswith(value)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("default_transaction_isolation", "serializable"),
        ("standard_conforming_strings", "off"),
        ("bytea_output", "escape"),
        ("default_tablespace", "nowhere"),
    ],
)
def test_or_take_them_and_do_not_mind(
    lab: Laboratory, mallory: TenantLocation, hostile: Connection, setting: str, value: str
) -> None:
    assert refusal(hostile, f"ALTER ROLE CURRENT_USER SET {setting} = '{value}'") is None
    works_as_usual(lab, mallory)


def test_what_is_pinned(lab: Laboratory, mallory: TenantLocation) -> None:
    with lab.manager.tenant_db_session(mallory) as session:
        pinned = {
            name: session.scalar(text(f"SHOW {name}"))
            for name in ("search_path", "statement_timeout", "timezone", "role")
        }
    assert pinned == {
        "search_path": "public",
        "statement_timeout": f"{lab.settings.tenant_statement_timeout_ms // 1000}s",
        "timezone": "UTC",
        "role": "none",
    }


def test_provisioning_again_restores_the_defaults(
    lab: Laboratory, mallory: TenantLocation, hostile: Connection
) -> None:
    """For a setting that no startup packet can pin on every version, such as 17's timeout."""
    assert refusal(hostile, "ALTER ROLE CURRENT_USER SET work_mem = '64kB'") is None
    lab.manager.create_tenant_database(mallory)
    with lab.as_superuser() as superuser:
        kept = superuser.execute(
            "SELECT rolconfig FROM pg_roles WHERE rolname = %s", (mallory.role,)
        ).fetchone()
    assert kept == (None,)


@pytest.mark.parametrize(
    "statement",
    [
        "DROP OWNED BY CURRENT_USER",
        "DROP OWNED BY {tenant_rw}",
        'REVOKE CONNECT ON DATABASE "{own}" FROM CURRENT_USER',
        "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC",
        "ALTER DEFAULT PRIVILEGES FOR ROLE {tenant_rw} GRANT ALL ON TABLES TO PUBLIC",
        "BEGIN; LOCK TABLE documents IN ACCESS EXCLUSIVE MODE; COMMIT",
        "SELECT pg_advisory_lock(1); NOTIFY everybody",
        "SELECT datname FROM pg_database; SELECT rolname FROM pg_roles",
    ],
)
def test_it_may_say_this_and_nothing_comes_of_it(
    lab: Laboratory, mallory: TenantLocation, hostile: Connection, statement: str
) -> None:
    refusal(hostile, statement.format(own=mallory.database, tenant_rw=lab.installation.tenant_rw))
    works_as_usual(lab, mallory)
