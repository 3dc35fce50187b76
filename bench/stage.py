"""The stage that every benchmark plays on: servers of its own, and an installation on them."""

import secrets
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.fernet import Fernet
from flask import Flask
from flask_migrate import upgrade

from app.core.db import db, main_session
from app.core.secrets import SecretBox
from app.domains.identity.service import keys
from app.factory import create_app
from app.integrations import storage
from app.settings import Settings
from app.tenancy import migrations, templates
from app.tenancy.bootstrap import ForeignDatabases, prepare_server
from app.tenancy.manager import TenantDatabaseManager, current_manager
from app.tenancy.names import Installation
from embedded.postgres import PostgresServer
from embedded.valkey import ValkeyServer

INSTALLATION: Final = Installation("bench")
MAX_CONNECTIONS: Final = 300


@dataclass(frozen=True, kw_only=True)
class Stage:
    """``environment`` describes the installation to a process of its own."""

    admin_url: str
    server_pid: int
    redis_pid: int
    environment: dict[str, str]
    settings: Settings
    app: Flask
    manager: TenantDatabaseManager
    secrets: SecretBox
    folder: Path

    @property
    def template(self) -> str:
        """The database that new tenants are clones of."""
        return INSTALLATION.template(migrations.head())

    def close_main_connections(self) -> None:
        for engine in db.engines.values():
            engine.dispose()


@contextmanager
def staged(max_connections: int = MAX_CONNECTIONS) -> Iterator[Stage]:
    """Durable servers (fsync on), the main database and the template at their newest revisions.

    The block runs in the application's context. Afterwards nothing is left of any of it.
    """
    with ExitStack() as stack:
        # Short, because the path of a Unix socket has little room.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tenantry-bench-")))
        postgres = stack.enter_context(
            PostgresServer(folder / "postgres", max_connections=max_connections)
        )
        redis = stack.enter_context(ValkeyServer(folder / "valkey"))
        environment = _environment(postgres.admin_url, redis.url, folder)
        settings = Settings.model_validate(
            {name.lower(): value for name, value in environment.items()}
        )
        storage.prepare(settings)
        app = create_app(settings)
        stack.enter_context(app.app_context())
        stage = Stage(
            admin_url=postgres.admin_url,
            server_pid=postgres.child.pid,
            redis_pid=redis.child.pid,
            environment=environment,
            settings=settings,
            app=app,
            manager=current_manager(),
            secrets=app.extensions["secrets"],
            folder=folder,
        )
        _initialise(stage)
        try:
            yield stage
        finally:
            stage.manager.engine.dispose()
            stage.close_main_connections()


def _environment(admin_url: str, redis_url: str, folder: Path) -> dict[str, str]:
    urls = prepare_server(
        admin_url,
        INSTALLATION,
        main_database=INSTALLATION.id,
        foreign_databases=ForeignDatabases.REFUSE,
        passwords={},
    )
    return {
        "ENVIRONMENT": "development",
        "INSTALLATION_ID": INSTALLATION.id,
        "SECRET_KEY": secrets.token_urlsafe(40),
        "SECRETS_KEYS": Fernet.generate_key().decode(),
        "DATABASE_URL": urls[INSTALLATION.app],
        "DATABASE_OWNER_URL": urls[INSTALLATION.main_owner],
        "DATABASE_PLATFORM_URL": urls[INSTALLATION.platform],
        "PROVISIONER_URL": urls[INSTALLATION.provisioner],
        "REDIS_URL": redis_url,
        "STORAGE_PATH": str(folder / "files"),
        # Each request is counted, as in production, and none refused.
        **{f"REQUESTS_PER_{name}": "1000000000" for name in ("USER", "TENANT", "ADDRESS")},
    }


def _initialise(stage: Stage) -> None:
    upgrade()
    templates.ensure(stage.manager.server)
    with main_session() as session:
        keys.ensure_signing_key(session, stage.secrets)
