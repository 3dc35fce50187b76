"""The real servers of the full test run: a table, one row per server, and their keeper.

The same classes run the distribution's programs instead of those in the wheels. The S3 server and
Vault are in no distribution: they are built, once, into the cache folder.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol
from urllib.parse import urlsplit

import psycopg
import redis

from embedded import golang, maven, npm
from embedded import kafka as kafka_server
from embedded import oidc as oidc_server
from embedded import vault as vault_server
from embedded.errors import EmbeddedError
from embedded.kafka import KafkaServer
from embedded.oidc import OidcProvider
from embedded.ports import free_port
from embedded.postgres import PostgresServer
from embedded.process import ChildProcess
from embedded.valkey import ValkeyServer
from embedded.vault import VaultServer
from embedded.versitygw import VersityGateway, answers

_POSTGRES_PROGRAMS = Path("/usr/lib/postgresql")
_OLDEST_POSTGRES = 15
_SECONDS = 5
_GATEWAY = "v1.8.0"
_KAFKA = "org.apache.kafka:kafka_2.13:4.1.0"
_VAULT = "1.21.4"
_SUPPORT = Path(__file__).resolve().parents[1] / "tests" / "support"
_VAULT_SOURCE = _SUPPORT / "vault_server"
_OIDC_SOURCE = _SUPPORT / "oidc_provider"
_GATEWAY_PACKAGE = f"github.com/versity/versitygw/cmd/versitygw@{_GATEWAY}"


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
    build: Callable[[], None] | None = None


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


def _gateway_path() -> Path:
    return cache_folder() / "programs" / f"versitygw-{_GATEWAY}"


def _gateway() -> Path | None:
    """With the reverse proxy that the tests put in front of it."""
    path = _gateway_path()
    return path if path.is_file() and nginx_program() else None


def nginx_program() -> str | None:
    """Debian keeps it where only root looks."""
    return shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")


def _build_gateway() -> None:
    if not _gateway_path().is_file():
        golang.build(_GATEWAY_PACKAGE, _gateway_path())


def _s3(program: Path, data: Path) -> tuple[Server, Callable[[], str]]:
    server = VersityGateway(data, binary=program)
    return server, lambda: server.url


def _check_s3(url: str) -> None:
    if not answers(urlsplit(url).port or 0):
        raise EmbeddedError("The S3 server does not answer.")


def kafka_libraries() -> Path:
    """The jars of Kafka and of what it needs."""
    return cache_folder() / "programs" / f"kafka-{_KAFKA.rpartition(':')[2]}"


def _kafka() -> Path | None:
    return kafka_libraries() if kafka_libraries().is_dir() and maven.java_program() else None


def _fetch_kafka() -> None:
    if not kafka_libraries().is_dir():
        maven.fetch(_KAFKA, kafka_libraries())


def _start_kafka(libraries: Path, data: Path) -> tuple[Server, Callable[[], str]]:
    server = KafkaServer(data, libraries=libraries)
    return server, lambda: server.url


def _check_kafka(url: str) -> None:
    if not kafka_server.answers(url):
        raise EmbeddedError("Kafka does not answer.")


def vault_program() -> Path | None:
    """The whole of it that is built: neither TLS nor other engines than those we use."""
    path = _vault_path()
    return path if path.is_file() else None


def _vault_path() -> Path:
    return cache_folder() / "programs" / f"vault-{_VAULT}"


def _build_vault() -> None:
    if not _vault_path().is_file():
        golang.build_folder(_VAULT_SOURCE, _vault_path())


def _vault(program: Path, data: Path) -> tuple[Server, Callable[[], str]]:
    server = VaultServer(data, binary=program)
    return server, lambda: server.url


def _check_vault(url: str) -> None:
    if not vault_server.answers(url):
        raise EmbeddedError("Vault does not answer, or is sealed.")


def chromium_program() -> str | None:
    """The browser that signs in in the tests."""
    return shutil.which("chromium")


def _oidc_path() -> Path:
    """A change of the program, or of what it is pinned to, is another one."""
    sources = sorted(_OIDC_SOURCE.glob("*"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    return cache_folder() / "programs" / f"oidc-provider-{digest[:12]}"


def _oidc() -> Path | None:
    """With the browser that opens its pages."""
    path = _oidc_path()
    return path if path.is_dir() and chromium_program() else None


def _fetch_oidc() -> None:
    if not _oidc_path().is_dir():
        npm.fetch(_OIDC_SOURCE, _oidc_path())


def _start_oidc(program: Path, data: Path) -> tuple[Server, Callable[[], str]]:
    server = OidcProvider(data, program=program)
    return server, lambda: server.url


def _check_oidc(url: str) -> None:
    if not oidc_server.answers(url):
        raise EmbeddedError("oidc-provider does not answer.")


def cache_folder() -> Path:
    """Outside the tree: TENANTRY_CACHE, else below the user's cache folder."""
    if chosen := os.environ.get("TENANTRY_CACHE"):
        return Path(chosen).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "tenantry").absolute()


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
    "s3": Service(
        variable="TEST_S3_URL",
        packages=("nginx-light",)
        if golang.go_program()
        else ("nginx-light", "golang-go", "ca-certificates"),
        program=_gateway,
        server=_s3,
        check=_check_s3,
        build=_build_gateway,
    ),
    "kafka": Service(
        variable="TEST_KAFKA_URL",
        packages=("default-jre-headless", "maven"),
        program=_kafka,
        server=_start_kafka,
        check=_check_kafka,
        build=_fetch_kafka,
    ),
    "vault": Service(
        variable="TEST_VAULT_URL",
        packages=() if golang.go_program() else ("golang-go", "ca-certificates"),
        program=vault_program,
        server=_vault,
        check=_check_vault,
        build=_build_vault,
    ),
    "oidc": Service(
        variable="TEST_OIDC_URL",
        packages=("chromium",),
        program=_oidc,
        server=_start_oidc,
        check=_check_oidc,
        build=_fetch_oidc,
    ),
}


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
