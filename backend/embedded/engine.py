"""A Docker engine of its own, from Debian's packages, for a machine that has none. Root, Linux.

What it changes in the machine's network is put back when it ends.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from embedded.errors import EmbeddedError
from embedded.process import ChildProcess, Command

_SUITE = "trixie"
_MIRROR = "http://deb.debian.org/debian"
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# Newer than this distribution's, so beside it; what they run on is the distribution's.
_PACKAGES = ("containerd", "docker-buildx", "docker-cli", "docker-compose", "docker.io")
_BELOW = {"runc": "runc", "iptables": "iptables", "tini-static": "tini", "mmdebstrap": "mmdebstrap"}
_PLUGINS = ("docker-compose", "docker-buildx")
_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
_EMPTY_TABLES = {
    "filter": "*filter\n:INPUT ACCEPT\n:FORWARD ACCEPT\n:OUTPUT ACCEPT\nCOMMIT\n",
    "nat": "*nat\n:PREROUTING ACCEPT\n:INPUT ACCEPT\n:OUTPUT ACCEPT\n:POSTROUTING ACCEPT\nCOMMIT\n",
}
_READY_SECONDS = 60.0
_GRACE = 30.0


class Docker:
    """A client, with the environment that finds its engine."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)

    def run(
        self,
        *arguments: str,
        stdin: Path | None = None,
        seconds: float = 900.0,
        folder: Path | None = None,
    ) -> str:
        """What `docker …` says on standard output; EmbeddedError where it fails or takes longer."""
        command = ["docker", *arguments]
        try:
            with Path(stdin or os.devnull).open("rb") as source:
                done = subprocess.run(
                    command,
                    env=self.environment,
                    cwd=folder,
                    stdin=source,
                    capture_output=True,
                    check=False,
                    timeout=seconds,
                )
        except subprocess.TimeoutExpired as error:
            raise EmbeddedError(f"{' '.join(command)}: not done in {seconds:.0f} s.") from error
        if done.returncode:
            said = (done.stdout[-1000:] + done.stderr[-3000:]).decode(errors="replace")
            raise EmbeddedError(f"{' '.join(command)} failed:\n{said}")
        return done.stdout.decode(errors="replace")

    @property
    def answers(self) -> bool:
        """Whether there is an engine, and the plug-in compose."""
        with suppress(EmbeddedError, OSError):
            self.run("info", seconds=20)
            self.run("compose", "version", seconds=20)
            return True
        return False


class Engine:
    """Runs for as long as this object is entered; its images stay in the folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._programs = folder / "programs"
        self._room = Path(tempfile.mkdtemp(prefix="engine-"))

    @property
    def docker(self) -> Docker:
        """The client for it."""
        path = f"{self._programs}/usr/bin:{self._programs}/usr/sbin:/usr/sbin:{os.environ['PATH']}"
        return Docker(
            {
                **os.environ,
                "PATH": path,
                "DOCKER_HOST": f"unix://{self._room}/socket",
                "DOCKER_CONFIG": str(self._programs / "config"),
            }
        )

    def __enter__(self) -> Self:
        _need_root()
        self._install()
        self._rules = _output("iptables-save")
        self._forwarding = _FORWARDING.read_text()
        self._child = ChildProcess(
            Command(
                name="The Docker engine",
                program=[
                    *("dockerd", "--data-root", str(self._folder / "data")),
                    *("--exec-root", f"{self._room}/exec", "--pidfile", f"{self._room}/pid"),
                    *("-H", f"unix://{self._room}/socket"),
                ],
                log=self._room / "log",
                environment=self.docker.environment,
                grace=_GRACE,
            )
        )
        try:
            self._child.wait_until(lambda: self.docker.answers, seconds=_READY_SECONDS)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def _end(self) -> None:
        self._child.stop()
        for command in (
            ["ip", "link", "delete", "docker0"],
            ["umount", f"{self._room}/exec/netns/default"],
        ):
            subprocess.run(command, check=False, capture_output=True)
        subprocess.run(["iptables-restore"], input=_whole(self._rules), check=True, text=True)
        _FORWARDING.write_text(self._forwarding)
        shutil.rmtree(self._room, ignore_errors=True)

    def _install(self) -> None:
        absent = [package for name, package in _BELOW.items() if shutil.which(name) is None]
        if absent:
            _apt(["update", "-q"])
            _apt(["install", "-qy", "--no-install-recommends", *absent])
        if self._programs.is_dir():
            return
        print("Getting a Docker engine (a minute, once)", flush=True)  # noqa: T201  # long work
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="build-", dir=self._folder) as name:
            room = Path(name)
            _download(room)
            programs = room / "programs"
            for package in room.glob("*.deb"):
                _run(["dpkg", "-x", str(package), str(programs)])
            _complete(programs)
            programs.rename(self._programs)


def _whole(rules: str) -> str:
    """With the tables that were not there before: what is not named would stay as it is."""
    absent = [table for name, table in _EMPTY_TABLES.items() if f"*{name}\n" not in rules]
    return rules + "".join(absent)


def _complete(programs: Path) -> None:
    """The link that the packages leave to another package, and the client's plug-ins."""
    init = programs / "usr" / "bin" / "docker-init"
    init.unlink(missing_ok=True)
    init.symlink_to(shutil.which("tini-static") or "/usr/bin/tini-static")
    plugins = programs / "config" / "cli-plugins"
    plugins.mkdir(parents=True)
    for name in _PLUGINS:
        (plugins / name).symlink_to(f"../../usr/libexec/docker/cli-plugins/{name}")


def _download(room: Path) -> None:
    """With lists and a status of its own, so that this machine's own packages stay as they are."""
    for folder in ("state/lists/partial", "cache/archives/partial"):
        (room / folder).mkdir(parents=True)
    (room / "state" / "status").touch()
    sources = room / "sources.list"
    sources.write_text(f"deb [signed-by={_KEYRING}] {_MIRROR} {_SUITE} main\n")
    options = {
        "Dir::State": room / "state",
        "Dir::State::status": room / "state" / "status",
        "Dir::Cache": room / "cache",
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "/dev/null",
        "APT::Sandbox::User": "root",
    }
    own = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    _apt([*own, "update", "-q"], folder=room)
    _apt([*own, "download", "-q", *_PACKAGES], folder=room)


def debian_root(target: Path) -> None:
    """The tar of a minimal Debian of the same suite."""
    _run(
        [
            *("mmdebstrap", "--variant=minbase", "--include=ca-certificates"),
            *(_SUITE, str(target), _MIRROR),
        ]
    )


def _need_root() -> None:
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise EmbeddedError(
            "There is no Docker engine here that answers; one of our own needs root and apt-get."
        )


def _apt(arguments: Sequence[str], *, folder: Path | None = None) -> None:
    _run(["apt-get", *arguments], folder=folder)


def _run(command: Sequence[str], *, folder: Path | None = None) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise EmbeddedError(f"{' '.join(command)} failed:\n{(done.stdout + done.stderr)[-3000:]}")


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
