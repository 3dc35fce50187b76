"""Wait until servers answer, in the order in which they are named.

    administrator   PostgreSQL as ADMIN_DATABASE_URL, which is all that bootstrap_server.py needs
    database        the main database as DATABASE_URL
    schema          the main database with every column that this release knows: init_db.py has run
    redis           REDIS_URL
    store           the file store; the bucket need not be there
    kafka           KAFKA_BOOTSTRAP_SERVERS

Settings come from the environment. Containers and init containers start with it.

Exit codes: 0 all of them answer; 1 one does not, in time, or a setting is missing; 2 wrong
arguments.
"""

import argparse
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "backend"))

import psycopg
from redis import Redis, RedisError

import app.factory  # noqa: F401  # declares every table
from app.core.db import MainModel

_SECONDS = 3
_PAUSE = 0.5
# Catalogs are readable to every role, and the migrations' own table is not.
_COLUMNS = """
    SELECT c.relname, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    WHERE c.relnamespace = to_regnamespace('public') AND a.attnum > 0 AND NOT a.attisdropped
"""


class NotYet(Exception):
    """A server answers, and is not what is waited for."""


def administrator() -> None:
    with psycopg.connect(needed("ADMIN_DATABASE_URL"), connect_timeout=_SECONDS):
        pass


def database() -> None:
    with psycopg.connect(needed("DATABASE_URL"), connect_timeout=_SECONDS):
        pass


def schema() -> None:
    """A newer release's has more, and is served as well."""
    with psycopg.connect(needed("DATABASE_URL"), connect_timeout=_SECONDS) as connection:
        there = set(connection.execute(_COLUMNS).fetchall())
    known = {
        (table.name, column.name)
        for table in MainModel.metadata.tables.values()
        for column in table.columns
    }
    if missing := known - there:
        raise NotYet(f"init_db.py has not made {len(missing)} columns that this release knows")


def redis() -> None:
    with Redis.from_url(
        needed("REDIS_URL"), socket_timeout=_SECONDS, socket_connect_timeout=_SECONDS
    ) as client:
        client.ping()


def store() -> None:
    """A folder is there or not; whether it is usable says init_storage.py."""
    if url := os.environ.get("S3_ENDPOINT_URL"):
        parts = urlsplit(url)
        listening(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))


def kafka() -> None:
    host, _, port = needed("KAFKA_BOOTSTRAP_SERVERS").partition(",")[0].strip().rpartition(":")
    listening(host, int(port))


PARTS: dict[str, Callable[[], None]] = {
    part.__name__: part for part in (administrator, database, schema, redis, store, kafka)
}
_FAULTS = (psycopg.Error, RedisError, OSError, NotYet)


def listening(host: str, port: int) -> None:
    with socket.create_connection((host, port), timeout=_SECONDS):
        pass


def needed(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        sys.exit(f"{name} is not set.")
    return value


def wait(name: str, *, until: float) -> str | None:
    """What is still wrong when the time is up; None once it answers."""
    while True:
        try:
            PARTS[name]()
        except _FAULTS as error:
            if time.monotonic() >= until:
                return f"{type(error).__name__}: {error}"
        else:
            return None
        time.sleep(_PAUSE)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="+", choices=list(PARTS), metavar="part")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds in all (60)")
    parser.add_argument("--json", action="store_true", help="report as one JSON document")
    arguments = parser.parse_args()
    until = time.monotonic() + arguments.timeout
    answered: list[str] = []
    fault = None
    for name in arguments.parts:
        fault = wait(name, until=until)
        if fault is not None:
            fault = f"{name} does not answer. {fault}"
            break
        answered.append(name)
    if arguments.json:
        print(json.dumps({"answered": answered, "fault": fault}))
    elif fault is not None:
        print(fault, file=sys.stderr)
    return 0 if fault is None else 1


if __name__ == "__main__":
    sys.exit(main())
