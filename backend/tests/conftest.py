"""Fixtures that every test may ask for: servers, an installation of one's own, the cast."""

import base64
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography.fernet import Fernet
from flask import Flask

from app.integrations.storage import disk
from app.settings import Settings
from app.tenancy.bootstrap import ForeignDatabases, prepare_server
from app.tenancy.manager import TenantDatabaseManager, current_manager
from app.tenancy.names import Installation
from tests.cast import Cast, initialise, play_cast
from tests.core.apps import another_app
from tests.post import PostOffice, post_office
from tests.servers import Servers

_SERVERS = Servers()
_UNLIMITED = 1_000_000


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes seconds")
    if not hasattr(config, "workerinput") and not config.option.collectonly:
        _SERVERS.start()


def pytest_configure_node(node: Any) -> None:
    node.workerinput["servers"] = _SERVERS.urls


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        _SERVERS.stop()


@pytest.fixture(scope="session")
def server_urls(request: pytest.FixtureRequest) -> dict[str, str]:
    """Of the run's servers: ``postgres`` as superuser, ``redis``; ``s3`` where there is one."""
    return getattr(request.config, "workerinput", {}).get("servers") or _SERVERS.urls


@pytest.fixture(scope="session")
def admin_url(server_urls: dict[str, str]) -> str:
    return server_urls["postgres"]


@pytest.fixture(scope="session")
def settings(
    server_urls: dict[str, str], tmp_path_factory: pytest.TempPathFactory, worker_id: str
) -> Iterator[Settings]:
    """An installation of this worker's own on the shared servers."""
    installation = Installation(f"t{secrets.token_hex(4)}")
    yield make_settings(server_urls, installation, tmp_path_factory.mktemp("files"), worker_id)
    drop_installation(server_urls, installation)


def make_settings(
    server_urls: dict[str, str],
    installation: Installation,
    storage_path: Path,
    worker_id: str = "master",
    **changes: Any,
) -> Settings:
    """Prepares the server for the installation and describes it; hashing is made cheap."""
    urls = prepare_server(
        server_urls["postgres"],
        installation,
        main_database=installation.id,
        foreign_databases=ForeignDatabases.IGNORE,
        passwords={},
    )
    redis_database = int(worker_id.removeprefix("gw")) if worker_id != "master" else 0
    disk.prepare(storage_path, check=False)
    given: dict[str, Any] = {
        "environment": "testing",
        # Where Flask's test client says that it sends its requests: links are for one host.
        "public_url": "http://localhost",
        "installation_id": installation.id,
        "secret_key": secrets.token_urlsafe(40),
        "secrets_keys": (Fernet.generate_key().decode(),),
        "database_url": urls[installation.app],
        "database_owner_url": urls[installation.main_owner],
        "database_platform_url": urls[installation.platform],
        "provisioner_url": urls[installation.provisioner],
        "redis_url": server_urls["redis"].rsplit("/", 1)[0] + f"/{redis_database}",
        "storage_path": storage_path,
        "audit_signing_key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "metrics_token": secrets.token_urlsafe(40),
        "main_pool_size": 40,
        "tenant_connection_budget": 20,
        "password_hash_memory_kib": 32,
        "password_hash_passes": 1,
        # The cast signs in once, and a loaded machine may take its time for the whole run.
        "access_token_seconds": 6 * 3600,
        "session_seconds": 6 * 3600,
        # Others sign in all day long, and fail often.
        "login_attempts_per_account_and_address": _UNLIMITED,
        "login_attempts_per_address": _UNLIMITED,
        "login_attempts_per_account": _UNLIMITED,
        "login_attempts_over_all": _UNLIMITED,
        "mail_requests_per_account": _UNLIMITED,
        "mail_requests_per_address": _UNLIMITED,
        "mail_requests_over_all": _UNLIMITED,
        "registration_enabled": True,
        # Nobody's: no test asks the real ones.
        "azure_authority_url": "https://localhost:9",
        "graph_url": "https://localhost:9",
        # Whoever calls every route is not to wait for the end of a live stream.
        "stream_seconds": 0.1,
    }
    return Settings(**(given | changes))


def drop_installation(server_urls: dict[str, str], installation: Installation) -> None:
    """Takes everything of the installation off a server that stays; it takes a while."""
    if "stay" not in server_urls:
        return
    with psycopg.connect(server_urls["postgres"], autocommit=True) as connection:
        owned = connection.execute(
            "SELECT datname FROM pg_database WHERE pg_get_userbyid(datdba) LIKE %s",
            (f"{installation.id}\\_%",),
        ).fetchall()
        for (name,) in owned:
            connection.execute(f'ALTER DATABASE "{name}" IS_TEMPLATE false'.encode())
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())
        roles = connection.execute(
            """
            SELECT rolname FROM pg_roles WHERE rolname LIKE %s
               OR shobj_description(oid, 'pg_authid') LIKE %s
            """,
            (f"{installation.id}\\_%", f'%"tenantry": "{installation.id}"%'),
        ).fetchall()
        # The provisioner granted memberships, so it goes last.
        for (name,) in sorted(roles, key=lambda row: row[0] == installation.provisioner):
            connection.execute(f'DROP OWNED BY "{name}"'.encode())
            connection.execute(f'DROP ROLE "{name}"'.encode())


@pytest.fixture(scope="session")
def app(settings: Settings) -> Iterator[Flask]:
    """The application on a main database at the newest revision, with a signing key."""
    with another_app(settings) as app:
        initialise(app)
        yield app


@pytest.fixture
def context(app: Flask) -> Iterator[Flask]:
    """An application context, for tests that call verbs directly."""
    with app.app_context():
        yield app


@pytest.fixture
def manager(context: Flask) -> TenantDatabaseManager:
    return current_manager()


@pytest.fixture(scope="session")
def cast(app: Flask) -> Cast:
    """Acme with Alice, Ada, Ursula and Bob; globex with Mallory; Petra and Sam of the platform."""
    return play_cast(app)


@pytest.fixture
def post(app: Flask) -> Iterator[PostOffice]:
    """Takes every mail of the application, and does the jobs that send them."""
    with post_office(app) as office:
        yield office
