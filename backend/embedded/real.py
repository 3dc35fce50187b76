"""The real servers of the full test run: a table, one row per server, and their keeper.

The same classes run the distribution's programs instead of those in the wheels.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

import psycopg
import redis

from embedded.errors import EmbeddedError
from embedded.ports import free_port
from embedded.postgres import PostgresServer
from embedded.process import ChildProcess
from embedded.valkey import ValkeyServer

_POSTGRES_PROGRAMS = Path("/usr/lib/postgresql")
_OLDEST_POSTGRES = 15
_SECONDS = 5


class Server(Protocol):
    """What a row of the table starts."""

    @property
    def child(self) -> ChildProcess: ...

    def __enter__(self) -> object: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


@dataclass(frozen=True)
class Service:
    """One row: what the tests call it, how it gets here, how it starts, and when it is well."""

    variable: str
    packages: tuple[str, ...]
    program: Callable[[], Path | None]
    server: Callable[[Path, Path], tuple[Server, Callable[[], str]]]
    check: Callable[[str], None]


@dataclass
class Running:
    """Servers that run, and the variables by which the tests find them."""

    environment: dict[str, str]
    children: list[ChildProcess]


def _postgres_programs() -> Path | None:
    """The oldest that is supported: the wheel already brings the newest."""
    versions = {
        int(folder.name): folder / "bin"
        for folder in _POSTGRES_PROGRAMS.glob("*")
        if re.fullmatch(r"\d+", folder.name) and (folder / "bin" / "postgres").is_file()
    }
    supported = [version for version in versions if version >= _OLDEST_POSTGRES]
    return versions[min(supported)] if supported else None


def _postgres(programs: Path, data: Path) -> tuple[Server, Callable[[], str]]:
    server = PostgresServer(data, bin_dir=programs, durable=False, port=free_port())
    return server, lambda: server.admin_url


def _check_postgres(url: str) -> None:
    with psycopg.connect(url, connect_timeout=_SECONDS) as connection:
        connection.execute("SELECT 1")


def _redis_program() -> Path | None:
    found = shutil.which("redis-server")
    return Path(found) if found else None


def _redis(program: Path, data: Path) -> tuple[Server, Callable[[], str]]:
    server = ValkeyServer(data, binary=program, durable=False)
    return server, lambda: server.url


def _check_redis(url: str) -> None:
    with redis.Redis.from_url(url, socket_timeout=_SECONDS) as client:
        client.ping()


SERVICES: Mapping[str, Service] = {
    "postgres": Service(
        variable="TEST_POSTGRES_URL",
        packages=(f"postgresql-{_OLDEST_POSTGRES}",),
        program=_postgres_programs,
        server=_postgres,
        check=_check_postgres,
    ),
    "redis": Service(
        variable="TEST_REDIS_URL",
        packages=("redis-server",),
        program=_redis_program,
        server=_redis,
        check=_check_redis,
    ),
}


def cache_folder() -> Path:
    """Outside the tree: TENANTRY_CACHE, else below the user's cache folder."""
    if chosen := os.environ.get("TENANTRY_CACHE"):
        return Path(chosen).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "tenantry").absolute()


def missing(names: Sequence[str]) -> list[str]:
    """Those whose program is not on this machine."""
    return [name for name in names if SERVICES[name].program() is None]


def explain_missing(names: Sequence[str]) -> str:
    """Which packages to install, and with what."""
    packages = " ".join(package for name in names for package in SERVICES[name].packages)
    return (
        f"Not installed: {', '.join(names)}. As root: scripts/services.py install "
        f"{' '.join(names)} (which runs apt-get install {packages})."
    )


@contextmanager
def running(names: Sequence[str], folder: Path) -> Iterator[Running]:
    """Start these servers on data below the folder; stop them at the end, last one first."""
    if absent := missing(names):
        raise EmbeddedError(explain_missing(absent))
    with ExitStack() as stack:
        result = Running({}, [])
        for name in names:
            service = SERVICES[name]
            program = service.program()
            if program is None:
                raise EmbeddedError(explain_missing([name]))
            server, url = service.server(program, folder / name)
            stack.enter_context(server)
            service.check(url())
            result.environment[service.variable] = url()
            result.children.append(server.child)
        yield result
