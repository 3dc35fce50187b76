"""Somebody who asks the API for its health again and again, as a balancer does."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Self

import requests

from tests.faults.programs import get

SAYS_WITHIN: Final = 5.0
RECOVERS_WITHIN: Final = 30.0
_EVERY: Final = 0.2
_GIVES_UP_AFTER: Final = 10.0


@dataclass(frozen=True)
class Look:
    """``away`` are the parts that /health/ready names; None where it did not answer."""

    at: float
    alive: bool
    seconds: float
    status: str
    away: frozenset[str] | None


@dataclass
class Watch:
    """A thread for as long as it is entered."""

    url: Callable[[], str]
    looks: list[Look] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(3 * _GIVES_UP_AFTER)

    def says(self, parts: set[str], *, since: float, patience: float) -> float:
        """How long after that moment /health/ready named one of the parts."""
        within = SAYS_WITHIN * patience
        return self._first(
            lambda look: bool(parts & (look.away or frozenset())), since, within, f"{parts} away"
        )

    def recovers(self, *, since: float, patience: float) -> float:
        """How long after that moment all was well."""
        within = RECOVERS_WITHIN * patience
        return self._first(lambda look: look.status == "ready", since, within, "ready again")

    def dead(self, *, since: float) -> list[Look]:
        """Whenever /health did not answer 200."""
        return [look for look in self.looks if look.at >= since and not look.alive]

    def _first(
        self, wanted: Callable[[Look], bool], since: float, within: float, what: str
    ) -> float:
        while True:
            found = next(
                (look for look in list(self.looks) if look.at >= since and wanted(look)), None
            )
            took = (time.monotonic() if found is None else found.at) - since
            assert took <= within, (
                f"{took:.1f} s and /health/ready does not say: {what}; {self.looks[-3:]}"
            )
            if found is not None:
                return took
            time.sleep(_EVERY / 4)

    def _run(self) -> None:
        while not self._stopping.wait(_EVERY):
            begun = time.monotonic()
            alive = self._alive()
            seconds = time.monotonic() - begun
            status, away = self._ready()
            self.looks.append(Look(time.monotonic(), alive, seconds, status, away))

    def _alive(self) -> bool:
        try:
            return get(f"{self.url()}/health", seconds=_GIVES_UP_AFTER).status_code == 200
        except requests.RequestException:
            return False

    def _ready(self) -> tuple[str, frozenset[str] | None]:
        try:
            told = get(f"{self.url()}/health/ready", seconds=_GIVES_UP_AFTER).json()
        except (requests.RequestException, ValueError):
            return "silent", None
        parts = told.get("parts", {})
        away = frozenset(name for name, part in parts.items() if part["status"] == "away")
        return str(told["status"]), away
