"""The application's programs while they run: requests shown, code reloaded, deaths noticed."""

import signal
import time
from collections.abc import Collection, Sequence
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from embedded.application import Application, DoesNotLoad
from embedded.console import Console
from embedded.errors import StoppedEarly
from embedded.ports import LOOPBACK
from embedded.process import ChildProcess, stop_together

_READY_SECONDS = 60.0
_PROBATION_SECONDS = 20.0
_HEALTH_SECONDS = 2.0
_HTTP_OK = 200
_WORKERS_DO_NOT_START = 3  # gunicorn's Arbiter.WORKER_BOOT_ERROR
_MIGRATIONS = "migrations"


class Programs:
    """The programs of the application."""

    def __init__(self, application: Application, console: Console) -> None:
        self._application = application
        self._console = console
        self._api: ChildProcess | None = None
        self._behind: list[ChildProcess] = []
        self._reloaded_at = float("-inf")
        self._shown = 0

    def start_behind(self) -> None:
        """Start what works behind the API, and wait until all of it is ready."""
        self._start_behind(self._application.queues())

    def _start_behind(self, queues: Sequence[str]) -> None:
        for command in self._application.behind(queues):
            self._behind.append(ChildProcess(command))
        for child in self._behind:
            child.wait_until(partial(_is_ready, child), seconds=_READY_SECONDS)

    def start_api(self) -> None:
        """Start it, and wait until it answers GET /health."""
        self._api = ChildProcess(self._application.api())
        self._api.wait_until(self._healthy, seconds=_READY_SECONDS)

    def _healthy(self) -> bool:
        connection = HTTPConnection(LOOPBACK, self._application.port, timeout=_HEALTH_SECONDS)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == _HTTP_OK
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    def stop(self) -> None:
        """Stop all together."""
        stop_together(self._children())

    def _children(self) -> list[ChildProcess]:
        return [child for child in (self._api, *self._behind) if child]

    def show_requests(self) -> None:
        """Print what the API answered since the last look."""
        log = self._application.access_log
        if not log.exists():
            return
        with log.open("rb") as file:
            file.seek(self._shown)
            fresh = file.read()
        complete = fresh[: fresh.rfind(b"\n") + 1]
        self._shown += len(complete)
        for line in complete.decode(errors="replace").splitlines():
            self._console.aside(line)

    def check(self) -> None:
        """StoppedEarly when one has ended, unless the code is to blame: then we wait for better."""
        for child in self._children():
            if child.alive:
                continue
            if not self._code_is_to_blame(child):
                raise StoppedEarly(child.obituary())
            self._bury(child)

    def _code_is_to_blame(self, child: ChildProcess) -> bool:
        """Whether code was loaded just now, or gunicorn says that its workers do not start.

        The latter may also happen much later, when it replaces a worker while the code on disk
        is broken.
        """
        fresh = time.monotonic() < self._reloaded_at + _PROBATION_SECONDS
        return fresh or (child is self._api and child.exit_code == _WORKERS_DO_NOT_START)

    def _bury(self, child: ChildProcess) -> None:
        self._console.say(child.obituary())
        self._console.say("It starts again with the next change of the code.")
        child.stop()
        if child is self._api:
            self._api = None
        else:
            self._behind.remove(child)

    def reload(self, changed: Collection[Path]) -> None:
        """Load the changed code into all, or keep the running code when the new does not load."""
        began = time.monotonic()
        names = _some(changed)
        try:
            queues = self._application.queues()
            self._reload_api()
            self._reload_behind(queues)
        except DoesNotLoad as error:
            self._console.say(f"↻ {names}: not loaded; the code from before goes on running.")
            self._console.say(str(error))
            return
        except StoppedEarly as error:
            self._console.say(
                f"↻ {names}: {error}\nIt starts again with the next change of the code."
            )
            return
        self._console.say(f"↻ {names}: loaded in {time.monotonic() - began:.1f} s")
        if any(path.parts[0] == _MIGRATIONS for path in changed):
            self._console.say("  A migration changed: stop and `make run` again to apply it.")

    def _reload_api(self) -> None:
        self._reloaded_at = time.monotonic()
        if self._api is None:
            self.start_api()
        else:
            self._api.signal(signal.SIGHUP)

    def _reload_behind(self, queues: Sequence[str]) -> None:
        stop_together(self._behind)
        self._behind = []
        self._reloaded_at = time.monotonic()
        self._start_behind(queues)
        self._reloaded_at = time.monotonic()


def _is_ready(child: ChildProcess) -> bool:
    return "ready." in child.words()


def _some(changed: Collection[Path]) -> str:
    first, *rest = sorted(map(str, changed))
    return f"{first} and {len(rest)} more" if rest else first
