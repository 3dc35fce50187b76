"""One installation's real servers, each behind a proxy that breaks what passes through it."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import psycopg

from embedded.errors import EmbeddedError
from embedded.kafka import KafkaServer
from embedded.kafka import answers as kafka_answers
from embedded.ports import LOOPBACK, free_port
from embedded.postgres import PostgresServer
from embedded.real import SERVICES, explain_missing, missing
from embedded.server import EmbeddedServer
from embedded.valkey import ValkeyServer
from embedded.versitygw import VersityGateway
from tests.integrations.faults import Fault, FaultProxy, faulty
from tests.integrations.test_full_store import with_small

NAMES: Final = ("postgres", "redis", "s3", "kafka")
_START_SECONDS: Final = 60.0
# A file system of its own, so that it can be filled.
_ROOM_FOR_OBJECTS: Final = "256m"


@dataclass
class Servers:
    """The servers, the proxies in front of them by the servers' names, and what is done to both."""

    postgres: PostgresServer
    redis: ValkeyServer
    s3: VersityGateway
    kafka: KafkaServer
    proxies: dict[str, FaultProxy]

    def kill(self, server: EmbeddedServer, number: signal.Signals = signal.SIGKILL) -> None:
        """Its master process dies at once; what it leaves behind is ended with it."""
        server.child.signal(number)
        until(lambda: not server.child.alive, f"the end of {server.child.name}")
        server.stop()

    def start(self, server: EmbeddedServer) -> None:
        """Again, on the same port and data. Orphans of a killed PostgreSQL may need a moment."""
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                server.start()
            except EmbeddedError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return

    @contextmanager
    def broken(self, name: str, fault: Fault, **how: Any) -> Iterator[FaultProxy]:
        """For the time of the block, what passes there is broken in this way.

        But for what is only slow or held back, connections that were open are cut.
        """
        proxy = self.proxies[name]
        for attribute, value in how.items():
            setattr(proxy, attribute, value)
        proxy.fault = fault
        if fault not in {Fault.HELD, Fault.SLOW, Fault.NARROW}:
            proxy.hang_up()
        try:
            yield proxy
        finally:
            proxy.fault = Fault.NONE
            if fault is Fault.SILENT:
                proxy.hang_up()

    def configure_postgres(self, **settings: str) -> None:
        """Changes what the server is told, without a restart; an empty value is its default."""
        with psycopg.connect(self.postgres.admin_url, autocommit=True) as connection:
            for name, value in settings.items():
                order = (
                    f"ALTER SYSTEM SET {name} = '{value}'"
                    if value
                    else f"ALTER SYSTEM RESET {name}"
                )
                connection.execute(order.encode())
            connection.execute("SELECT pg_reload_conf()")

    @property
    def objects(self) -> Path:
        """The bucket's folder as the S3 server sees it, whose file system is its own."""
        return Path("/proc", str(self.s3.child.pid), "root", *self.s3.objects.parts[1:])

    def through_proxy(self, name: str, url: str) -> str:
        """The same address, but by the proxy."""
        parts = urlsplit(url)
        account, _, _ = parts.netloc.rpartition("@")
        netloc = (
            f"{account}@{self.proxies[name].address}" if account else self.proxies[name].address
        )
        return parts._replace(netloc=netloc).geturl()


@contextmanager
def running(folder: Path) -> Iterator[Servers]:
    """What is durable in production is durable here."""
    if absent := missing(NAMES):
        raise EmbeddedError(explain_missing(absent))
    programs: dict[str, Any] = {name: SERVICES[name].program() for name in NAMES}
    with ExitStack() as stack:
        proxies: dict[str, FaultProxy] = {}

        def proxied(name: str, port: int) -> int:
            proxies[name] = stack.enter_context(faulty(LOOPBACK, port))
            return port

        kafka_port = proxied("kafka", free_port())
        kafka = KafkaServer(
            folder / "kafka",
            libraries=programs["kafka"],
            port=kafka_port,
            advertised=proxies["kafka"].address,
        )
        stack.callback(kafka.stop)
        kafka.start()
        postgres = PostgresServer(
            folder / "postgres",
            bin_dir=programs["postgres"],
            port=proxied("postgres", free_port()),
        )
        stack.enter_context(postgres)
        redis = ValkeyServer(
            folder / "redis", binary=programs["redis"], port=proxied("redis", free_port())
        )
        stack.enter_context(redis)
        small = with_small(folder / "s3" / "objects", size=_ROOM_FOR_OBJECTS)
        s3 = VersityGateway(folder / "s3", binary=programs["s3"], prefix=small)
        proxied("s3", s3.port)
        stack.enter_context(s3)
        until(lambda: kafka_answers(kafka.url), "Kafka")
        yield Servers(postgres, redis, s3, kafka, proxies)


def until(condition: Callable[[], bool], what: str, *, seconds: float = 60.0) -> float:
    """Waits for the condition; how long that took. What goes wrong on the way is not yet."""
    begun = time.monotonic()
    while True:
        with suppress(OSError, psycopg.Error):
            if condition():
                return time.monotonic() - begun
        assert time.monotonic() < begun + seconds, f"waited {seconds:.0f} s in vain for: {what}"
        time.sleep(0.02)
