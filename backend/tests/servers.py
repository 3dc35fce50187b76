"""The servers that the tests run against: embedded, or real ones named by the environment."""

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from embedded.postgres import PostgresServer
from embedded.valkey import ValkeyServer

_REAL: Final = {"postgres": "TEST_POSTGRES_URL", "redis": "TEST_REDIS_URL"}
# Without these the tests that need them are skipped, unless real servers are required.
_OPTIONAL: Final = {
    "s3": "TEST_S3_URL",
    "kafka": "TEST_KAFKA_URL",
    "vault": "TEST_VAULT_URL",
    "oidc": "TEST_OIDC_URL",
}


# Set where the named servers are gone after the run, like the embedded ones.
_TEMPORARY: Final = "TEST_SERVERS_ARE_TEMPORARY"


class Servers:
    """URLs of a PostgreSQL server, as its superuser, of a Redis server, perhaps of others.

    ``stay`` is there where the servers outlive the run, and want to be left as they were.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.urls: dict[str, str] = {}

    def start(self) -> None:
        real = {name: os.environ.get(variable, "") for name, variable in _REAL.items()}
        others = {name: os.environ.get(variable, "") for name, variable in _OPTIONAL.items()}
        missing = [(_REAL | _OPTIONAL)[name] for name, url in (real | others).items() if not url]
        if missing and os.environ.get("REQUIRE_REAL_SERVERS"):
            pytest.exit(f"the real servers are required: set {', '.join(missing)}", returncode=3)
        if all(real.values()):
            self.urls = real | others
            if not os.environ.get(_TEMPORARY):
                self.urls["stay"] = "yes"
            return
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="tenantry-")))
        postgres = PostgresServer(folder / "postgres", durable=False)
        self._stack.enter_context(postgres)
        redis = ValkeyServer(folder / "valkey")
        self._stack.enter_context(redis)
        self.urls = {"postgres": postgres.admin_url, "redis": redis.url} | others

    def stop(self) -> None:
        self._stack.close()
