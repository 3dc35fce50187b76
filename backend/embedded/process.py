"""Child processes that are stopped in order and never outlive us."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from embedded.errors import StoppedEarly

LAUNCHER = Path(__file__).with_name("launch.py")
_ON_LINUX = sys.platform == "linux"
_LOOK_EVERY = 0.02


@dataclass(frozen=True, kw_only=True)
class Command:
    """A program to run beside us.

    ``privileges`` goes in front of the program (setpriv and its options). ``stop_signals`` are
    tried one after the other, ``grace`` seconds each, before SIGKILL. The program gets
    ``death_signal`` when we die; by default the first of them. ``leaves_children`` says that its
    own children may survive it. ``launch_mode``: see launch.py; chosen by the system we are on.
    """

    name: str
    program: Sequence[str]
    log: Path
    folder: Path | None = None
    environment: Mapping[str, str] | None = None
    privileges: Sequence[str] = ()
    stdin: str = ""
    stop_signals: Sequence[signal.Signals] = (signal.SIGTERM,)
    death_signal: signal.Signals | None = None
    grace: float = 5.0
    leaves_children: bool = False
    launch_mode: str | None = None

    @property
    def argv(self) -> list[str]:
        """The whole command line, launcher included."""
        launcher = [sys.executable, "-I", "-S", str(LAUNCHER)]
        at_our_end = self.death_signal or self.stop_signals[0]
        orders = [str(os.getpid()), str(int(at_our_end)), self._mode]
        return [*self.privileges, *launcher, *orders, *self.program]

    @property
    def _mode(self) -> str:
        if self.launch_mode:
            return self.launch_mode
        if not _ON_LINUX:
            return "observer"
        return "both" if self.leaves_children else "kernel"


class ChildProcess:
    """One running command, in a session of its own so that Ctrl-C reaches us first.

    Start it from a thread that lives as long as the child shall: Linux takes the end of the
    starting *thread* for the end of the parent.
    """

    def __init__(self, command: Command) -> None:
        self.command = command
        self._log_start = command.log.stat().st_size if command.log.exists() else 0
        with command.log.open("ab") as log:
            self._process = subprocess.Popen(
                command.argv,
                cwd=command.folder,
                env=command.environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._feed(command.stdin)

    def _feed(self, text: str) -> None:
        pipe = self._process.stdin
        if pipe is None:
            return
        with suppress(BrokenPipeError), pipe:
            pipe.write(text.encode())

    @property
    def name(self) -> str:
        """What people call it."""
        return self.command.name

    @property
    def pid(self) -> int:
        """Also the id of its session and process group."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs; reaps it when not."""
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Negative: the signal that killed it. Nothing while it runs."""
        return self._process.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program itself, not to its children."""
        self._process.send_signal(number)

    def wait_until(self, ready: Callable[[], bool], *, seconds: float) -> None:
        """Wait for ``ready()``; StoppedEarly when the child ends first or takes too long."""
        deadline = time.monotonic() + seconds
        while not ready():
            if not self.alive:
                raise StoppedEarly(self.obituary())
            if time.monotonic() > deadline:
                raise StoppedEarly(
                    f"{self.name} was not ready after {seconds:.0f} s.\n{self.tail()}"
                )
            time.sleep(_LOOK_EVERY)

    def stop(self) -> None:
        """Ask, ask harder, kill; then whatever is left of its process group."""
        for number in self.command.stop_signals:
            if not self.alive:
                break
            self.signal(number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(self.command.grace)
        with suppress(ProcessLookupError, PermissionError):  # macOS: EPERM for a zombie group
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def obituary(self) -> str:
        """How it ended, and its last words."""
        return f"{self.name} ended ({_manner(self._process.poll())}).\n{self.tail()}"

    def words(self) -> str:
        """All that it logged in this life."""
        with self.command.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def tail(self, lines: int = 15) -> str:
        """Return its last lines, indented, and where the rest is."""
        last = self.words().rstrip().splitlines()[-lines:]
        return "\n".join([*(f"    {line}" for line in last), f"  Its log: {self.command.log}"])

    def __enter__(self) -> Self:
        """Hand out the child, which runs already."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it."""
        self.stop()


def _manner(code: int | None) -> str:
    if code is None:
        return "still running"
    if code >= 0:
        return f"exit code {code}"
    return f"killed by {signal.Signals(-code).name}"


def stop_together(children: Sequence[ChildProcess]) -> None:
    """Ask all at once, so that the slowest alone decides how long it takes."""
    for child in children:
        if child.alive:
            child.signal(child.command.stop_signals[0])
    for child in children:
        child.stop()
