"""Preparing a server: once, twice, beside others, and only as open as its owner allows."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import unquote, urlsplit

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from app.settings import InvalidSettings
from app.tenancy.bootstrap import ForeignDatabases, OpenDatabases, prepare_server
from app.tenancy.capacity import connections_needed
from app.tenancy.names import Installation
from app.tenancy.server import Server
from app.tenancy.startup import check_servers
from embedded.postgres import PostgresServer
from tests.tenancy.attacks import Connection
from tests.tenancy.laboratory import PATIENCE_SECONDS, Laboratory

OURS = Installation("ours")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A server of the module's own: what is open to PUBLIC there is nobody else's business."""
    with PostgresServer(tmp_path_factory.mktemp("postgres"), durable=False) as started:
        yield started


@pytest.fixture
def superuser(server: PostgresServer) -> Iterator[Connection]:
    with psycopg.connect(server.admin_url, autocommit=True) as connection:
        yield connection


def prepare(
    server: PostgresServer,
    installation: Installation = OURS,
    policy: ForeignDatabases = ForeignDatabases.REFUSE,
    passwords: dict[str, str] | None = None,
) -> dict[str, str]:
    return prepare_server(
        server.admin_url,
        installation,
        main_database=installation.id,
        foreign_databases=policy,
        passwords=passwords or {},
    )


def is_open(superuser: Connection, database: str) -> bool:
    row = superuser.execute(
        "SELECT has_database_privilege('public', %s, 'CONNECT')", (database,)
    ).fetchone()
    assert row is not None
    return bool(row[0])


def test_every_url_logs_in_as_its_role(server: PostgresServer) -> None:
    urls = prepare(server)
    assert set(urls) == {OURS.main_owner, OURS.app, OURS.platform, OURS.provisioner}
    for role, url in urls.items():
        with psycopg.connect(url) as connection:
            row = connection.execute("SELECT current_user, current_database()").fetchone()
        assert row == (role, "postgres" if role == OURS.provisioner else OURS.id)


def test_nobody_of_ours_is_a_superuser(server: PostgresServer, superuser: Connection) -> None:
    prepare(server)
    roles = superuser.execute(
        """
        SELECT rolname, rolcanlogin, rolcreatedb, rolcreaterole,
               rolsuper OR rolreplication OR rolbypassrls
        FROM pg_roles WHERE rolname LIKE 'ours\\_%' ORDER BY rolname
        """
    ).fetchall()
    assert roles == [
        (OURS.app, True, False, False, False),
        (OURS.main_owner, True, False, False, False),
        (OURS.platform, True, False, False, False),
        (OURS.provisioner, True, True, True, False),
        (OURS.schema_owner, False, False, False, False),
        (OURS.tenant_ro, False, False, False, False),
        (OURS.tenant_rw, False, False, False, False),
    ]


def test_again_with_the_same_passwords(server: PostgresServer) -> None:
    first = prepare(server)
    passwords = {role: unquote(urlsplit(url).password or "") for role, url in first.items()}
    assert prepare(server, passwords=passwords) == first


def test_again_without_them_the_old_ones_are_void(server: PostgresServer) -> None:
    first, second = prepare(server), prepare(server)
    for role, url in first.items():
        assert url != second[role]
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(url)
        psycopg.connect(second[role]).close()


def test_many_at_once(server: PostgresServer) -> None:
    installations = [OURS, OURS, *(Installation(f"many{number}") for number in range(4))]
    with ThreadPoolExecutor(6) as pool:
        made = [pool.submit(prepare, server, each) for each in installations]
        for each in made:
            each.result(PATIENCE_SECONDS)


def test_refused_where_other_databases_are_open_and_nothing_is_changed(
    server: PostgresServer, superuser: Connection
) -> None:
    superuser.execute("CREATE DATABASE theirs")
    try:
        with pytest.raises(OpenDatabases, match="theirs") as refused:
            prepare(server, Installation("refused"))
        assert refused.value.names == ["theirs"]
        assert superuser.execute(
            "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'refused%'"
        ).fetchone() == (0,)
        assert is_open(superuser, "theirs")
        prepare(server, policy=ForeignDatabases.IGNORE)
        assert is_open(superuser, "theirs")
        prepare(server, policy=ForeignDatabases.REVOKE)
        assert not is_open(superuser, "theirs")
        prepare(server)
    finally:
        superuser.execute("DROP DATABASE theirs")


def test_what_was_opened_again_is_closed_again(
    server: PostgresServer, superuser: Connection
) -> None:
    prepare(server)
    for database in ("postgres", "template1", OURS.id, OURS.base_template):
        superuser.execute(f"GRANT ALL ON DATABASE {database} TO PUBLIC".encode())
    prepare(server)
    for database in ("postgres", "template1", OURS.id, OURS.base_template):
        assert not is_open(superuser, database)


def test_a_process_does_not_start_where_its_connections_do_not_fit(house: Laboratory) -> None:
    server = house.manager.server
    fitting = house.settings.model_copy(update={"process_count": 1, "main_pool_size": 1})
    check_servers(server, fitting)
    too_many = house.settings.model_copy(update={"process_count": 900})
    with pytest.raises(InvalidSettings, match=str(connections_needed(too_many))):
        check_servers(server, too_many)
    workers = house.settings.model_copy(update={"api_workers": 900, "process_count": 901})
    with pytest.raises(InvalidSettings, match=r"API_WORKERS = (\d+) would fit") as refused:
        check_servers(server, workers)
    fit = int(str(refused.value).partition("API_WORKERS = ")[2].split()[0])
    fewer = {"api_workers": fit, "process_count": fit + 1}
    check_servers(server, house.settings.model_copy(update=fewer))


def test_it_does_start_where_the_server_is_away(house: Laboratory) -> None:
    """That says nothing of its limit; requests answer 503 until it is back."""
    url = house.settings.provisioner_url.get_secret_value()
    nowhere = conninfo_to_dict(url) | {"host": "/nowhere"}
    server = Server(
        " ".join(f"{key}={value}" for key, value in nowhere.items()),
        house.installation,
        connect_timeout=2,
        statement_timeout_ms=1000,
    )
    check_servers(server, house.settings.model_copy(update={"process_count": 900}))
