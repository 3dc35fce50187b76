"""The tenants' schema: its revisions, and bringing one database to one of them.

Alembic's ``op`` and ``context`` are module-level proxies, so one process runs one migration at a
time.
"""

import hashlib
import threading
from functools import cache
from typing import Final

import psycopg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from app.core.db import MIGRATIONS
from app.tenancy.names import Installation, lock_key

# The oldest revision that the running code can serve: raised when a contracting migration ships.
OLDEST_SUPPORTED: Final = "0001"

_one_at_a_time = threading.Lock()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS / "tenant").replace("%", "%%"))
    return config


@cache
def head() -> str:
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    if revision is None:
        raise LookupError("the tenants' migration tree is empty")
    return revision


@cache
def supported() -> frozenset[str]:
    """The revisions whose databases the running code can serve."""
    scripts = ScriptDirectory.from_config(_config())
    between = scripts.iterate_revisions("head", OLDEST_SUPPORTED, inclusive=True)
    return frozenset(script.revision for script in between)


@cache
def digest() -> str:
    """Changes whenever the text of a migration does."""
    digest = hashlib.sha256()
    for path in sorted((MIGRATIONS / "tenant").rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def upgrade(conninfo: str, installation: Installation, revision: str = "head") -> str:
    """Brings one database to the revision, in one transaction, and returns where it now is.

    ``conninfo`` names the database as its owner. An advisory lock keeps a second migrator out.
    """
    engine = create_engine(
        "postgresql+psycopg://",
        poolclass=NullPool,
        creator=lambda: psycopg.connect(conninfo),
        use_native_hstore=False,
    )
    config = _config()
    with _one_at_a_time, engine.begin() as connection:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({lock_key('migrate')})")
        config.attributes.update(connection=connection, installation=installation)
        command.upgrade(config, revision)
        current = MigrationContext.configure(connection).get_current_revision()
    engine.dispose()
    return current or ""
