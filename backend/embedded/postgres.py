"""PostgreSQL as a child process."""

import shutil
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import psycopg

from embedded.cluster import Cluster, clean_environment, wheel_bin_dir
from embedded.errors import PortTaken
from embedded.ports import LOOPBACK, is_taken
from embedded.privileges import server_user
from embedded.process import ChildProcess, Command
from embedded.server import EmbeddedServer

_DEFAULT_PORT = 5432
_READY_SECONDS = 60.0
_SOCKET_FOLDER_PREFIX = "tenantry-pg-"
_SECONDS_TO_BE_IN_USE = 120
# unix(7): a socket's path has at most 107 bytes on Linux, 103 on macOS. Of these our folder's
# name takes 21 and the socket's own name, /.s.PGSQL.65535, another 15.
_LONGEST_TEMPORARY_FOLDER = 66
_FAST_NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
# SIGINT: end all sessions, write a checkpoint. SIGQUIT: at once, recover at the next start.
_FAST_THEN_IMMEDIATE = (signal.SIGINT, signal.SIGQUIT)


class PostgresServer(EmbeddedServer):
    """A server of its own on ``data_dir``, for as long as this object is started.

    It listens on a Unix socket in a private folder; on 127.0.0.1 only where a ``port`` is given.
    ``bin_dir`` chooses another PostgreSQL than the wheel's. ``durable=False`` may lose data in a
    crash of the machine: tests only.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        bin_dir: Path | None = None,
        durable: bool = True,
        max_connections: int = 300,
        port: int | None = None,
        log: Path | None = None,
    ) -> None:
        super().__init__(data_dir, durable=durable, log=log)
        self.bin_dir = bin_dir or wheel_bin_dir()
        self.max_connections = max_connections
        self.port = port
        self._password = ""
        self._sockets: Path | None = None

    @property
    def admin_url(self) -> str:
        """Libpq URI of the superuser ``postgres``."""
        account = f"postgresql://postgres:{self._password}"
        if self.port is not None:
            return f"{account}@{LOOPBACK}:{self.port}/postgres"
        return f"{account}@/postgres?host={quote(str(self._sockets), safe='')}"

    def _start(self) -> None:
        if self.port is not None and is_taken(self.port):
            raise PortTaken(f"PostgreSQL cannot listen on port {self.port}: it is taken.")
        user = server_user()
        cluster = Cluster(self.data_dir, self.bin_dir, user)
        cluster.prepare(durable=self.durable)
        self.version = cluster.version
        self._password = cluster.password
        self._sockets = self._private_folder()
        user.own(self._sockets)
        self._child = ChildProcess(self._command(cluster, user.prefix, self._sockets))
        self._child.wait_until(self._answers, seconds=_READY_SECONDS)

    def _clear(self) -> None:
        if self._sockets is not None:
            shutil.rmtree(self._sockets, ignore_errors=True)
            self._note.unlink(missing_ok=True)
            self._sockets = None

    @property
    def _note(self) -> Path:
        """Where the socket's folder is written down, to remove it when we could not."""
        return self.data_dir / "socket-folder"

    def _private_folder(self) -> Path:
        left_over = Path(self._note.read_text()) if self._note.exists() else Path()
        if left_over.name.startswith(_SOCKET_FOLDER_PREFIX):
            shutil.rmtree(left_over, ignore_errors=True)
        usual = tempfile.gettempdir()
        base = usual if len(usual) <= _LONGEST_TEMPORARY_FOLDER else "/tmp"  # noqa: S108  # made private by mkdtemp
        _sweep(Path(base))
        folder = Path(tempfile.mkdtemp(prefix=_SOCKET_FOLDER_PREFIX, dir=base))
        self._note.write_text(str(folder))
        return folder

    def _command(self, cluster: Cluster, privileges: tuple[str, ...], sockets: Path) -> Command:
        settings = {
            "listen_addresses": LOOPBACK if self.port is not None else "",
            "port": str(self.port if self.port is not None else _DEFAULT_PORT),
            "unix_socket_directories": f'"{sockets}"',
            "max_connections": str(self.max_connections),
            "logging_collector": "off",
            "log_timezone": "UTC",
            "timezone": "UTC",
        }
        settings |= {} if self.durable else _FAST_NOT_DURABLE
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        return Command(
            name=f"PostgreSQL {self.version}",
            program=[str(self.bin_dir / "postgres"), "-D", str(cluster.path), *options],
            log=self.log,
            folder=self.data_dir,
            environment=clean_environment(),
            privileges=privileges,
            stop_signals=_FAST_THEN_IMMEDIATE,
            grace=10.0,
        )

    def _answers(self) -> bool:
        try:
            with psycopg.connect(self.admin_url, connect_timeout=2) as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True


def _sweep(base: Path) -> None:
    """Remove what servers left whose starter was killed: they shut down, and clear their socket.

    Only an empty folder goes, so that a server that runs never loses its socket.
    """
    long_ago = time.time() - _SECONDS_TO_BE_IN_USE
    for folder in base.glob(f"{_SOCKET_FOLDER_PREFIX}*"):
        with suppress(OSError):
            if folder.stat().st_mtime < long_ago:
                folder.rmdir()
