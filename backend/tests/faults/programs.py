"""The product's processes, as `make run` starts them, and what is done to them."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import requests

from app.core.tasks import QUEUES
from app.settings import Settings
from embedded.application import Application
from embedded.ports import LOOPBACK, free_port
from embedded.process import ChildProcess, Command, stop_together
from tests.core.live import environment_of
from tests.embedded.processes import descendants
from tests.faults.servers import until
from tests.paths import BACKEND

BEHIND: Final = ("relay", "consumer", "worker", "scheduler")
# Only a machine with much else to do takes more than a few.
_READY_SECONDS: Final = 180.0
_CARELESS: Final = Path(__file__).with_name("careless.py")


class Programs:
    """By their names: "api" and those behind it. What ends is started again by whoever ended it."""

    def __init__(self, settings: Settings, folder: Path, *, port: int) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.settings = settings
        self.die = folder / "die"
        environment = environment_of(settings) | {"DIE": str(self.die)}
        self._application = Application(BACKEND, folder, environment, port)
        self._running: dict[str, ChildProcess] = {}

    @property
    def port(self) -> int:
        return self._application.port

    @property
    def url(self) -> str:
        """Where the API answers now."""
        return f"http://{LOOPBACK}:{self.port}"

    def start(self, *names: str, **environment: str) -> None:
        """All of them, or these; returns once they are ready. The variables are for these alone."""
        for name in names or ("api", *BEHIND):
            self.begin(name, **environment)
        for name in names or ("api", *BEHIND):
            self.wait(name)

    def begin(self, name: str, **environment: str) -> None:
        """Start one, and do not wait for it."""
        self._start(name, self._command(name), environment)

    def start_careless(self, name: str, which: str) -> None:
        """Instead of the program, one that lacks a protection."""
        program = [sys.executable, str(_CARELESS), which]
        self._start(name, replace(self._command(name), program=program), {})
        self.wait(name)

    def wait(self, name: str) -> None:
        child = self._running[name]
        child.wait_until(
            lambda: _answers(self.port) if name == "api" else "ready." in child.words(),
            seconds=_READY_SECONDS,
        )

    def kill(self, name: str) -> None:
        """The program and all of its children, as the end of its machine would."""
        child = self._running.pop(name)
        for pid in (child.pid, *descendants(child.pid)):
            _kill(pid)
        until(lambda: not child.alive, f"the end of {name}")
        child.stop()

    def revive(self) -> int:
        """Starts again what has ended by itself, as a supervisor does; how many that were.

        Celery's worker does where a child dies before its first work.
        """
        ended = [name for name, child in self._running.items() if not child.alive]
        for name in ended:
            self._running.pop(name).stop()
            self.begin(name)
        return len(ended)

    def kill_child(self, name: str, choose: Callable[[Sequence[int]], int]) -> int:
        """One of the program's children, which it has to replace; its process id."""
        victim = choose(sorted(self.children(name)))
        _kill(victim)
        return victim

    def kill_children(self, name: str) -> None:
        """All of them."""
        for pid in self.children(name):
            _kill(pid)

    def children(self, name: str) -> set[int]:
        """Those that do the work: gunicorn's workers, Celery's."""
        parent = self._running[name].pid
        return {pid for pid, above, _, state in _processes() if above == parent and state[0] != "Z"}

    def stop(self, *names: str) -> None:
        chosen = names or tuple(self._running)
        stop_together([self._running.pop(name) for name in chosen if name in self._running])

    def tell(self, name: str, number: signal.Signals) -> None:
        self._running[name].signal(number)

    def replace_api(self, turn: Callable[[int], None], how: signal.Signals) -> None:
        """Another one on another port; ``turn`` makes clients go there. Then the former ends."""
        former, application = self._running.pop("api"), replace(self._application, port=free_port())
        self._running["api"] = ChildProcess(self._mortal(application))
        self._running["api"].wait_until(lambda: _answers(application.port), seconds=_READY_SECONDS)
        self._application = application
        turn(self.port)
        former.signal(how)
        until(lambda: not former.alive, "the end of the former API")
        former.stop()

    def wait_for_end(self, name: str) -> int | None:
        """Of a program that was told to stop, or dies by itself; its exit code."""
        child = self._running.pop(name)
        until(lambda: not child.alive, f"the end of {name}")
        child.stop()
        return child.exit_code

    def memory(self) -> int:
        """Resident bytes of all processes."""
        ours = {child.pid for child in self._running.values()}
        for pid in tuple(ours):
            ours |= descendants(pid)
        return sum(1024 * kilobytes for pid, _, kilobytes, _ in _processes() if pid in ours)

    def logs(self) -> list[Path]:
        return sorted(self.folder.glob("*.log"))

    def _start(self, name: str, command: Command, environment: dict[str, str]) -> None:
        inner = {**(command.environment or {}), **environment}
        self._running[name] = ChildProcess(replace(command, environment=inner))

    def _command(self, name: str) -> Command:
        if name == "worker":
            return self._application.worker(QUEUES)
        if name == "api":
            return self._mortal(self._application)
        command: Command = getattr(self._application, name)()
        return command

    @staticmethod
    def _mortal(application: Application) -> Command:
        command = application.api()
        program = [
            "tests.faults.mortal:app" if part == "wsgi:app" else part for part in command.program
        ]
        return replace(command, program=program)


def _answers(port: int) -> bool:
    try:
        return get(f"http://{LOOPBACK}:{port}/health", seconds=2).ok
    except requests.RequestException:
        return False


def get(url: str, *, seconds: float, **options: Any) -> requests.Response:
    """Over a connection of its own."""
    with requests.Session() as session:
        session.trust_env = False
        return session.get(url, timeout=seconds, **options)


def _processes() -> list[tuple[int, int, int, str]]:
    """Id, parent's id, resident kilobytes and state of every process."""
    listing = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,rss=,stat="], capture_output=True, text=True, check=True
    )
    rows = [line.split() for line in listing.stdout.splitlines()]
    return [(int(pid), int(parent), int(rss), state) for pid, parent, rss, state in rows]


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
