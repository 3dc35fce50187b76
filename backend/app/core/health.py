"""Whether this process answers, and whether the parts that it depends on do."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from threading import Lock, Thread
from typing import Any, Final, Literal, cast

from flask import Flask, current_app
from marshmallow import Schema, fields

from app.core.errors import Unavailable
from app.core.http import PUBLIC, endpoint

logger = logging.getLogger(__name__)

# All are asked side by side, so that this bounds the answer as well.
_SECONDS: Final = 2.0


class Health(Schema):
    status = fields.String(required=True)


class PartHealth(Schema):
    """``milliseconds`` is null where the part did not answer in time."""

    status = fields.String(required=True)
    milliseconds = fields.Float(required=True, allow_none=True)


class Readiness(Schema):
    """``status`` is "ready", or "degraded" while a part is "away" that some requests need."""

    status = fields.String(required=True)
    parts = fields.Dict(keys=fields.String(), values=fields.Nested(PartHealth), required=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What a process depends on; without a vital part it serves nothing.

    ``ask`` returns when the part answers, and raises or never returns when it is away.
    """

    name: str
    ask: Callable[[], object]
    vital: bool = False


@dataclass(frozen=True, slots=True)
class PartState:
    status: Literal["up", "away"]
    milliseconds: float | None = None


class NotReady(Unavailable):
    """A part without which nothing can be served is away; ``parts`` tells which.

    Send requests to another process until this one is ready.
    """

    code = "not_ready"

    def __init__(self, parts: Mapping[str, PartState]) -> None:
        super().__init__("This process can serve nothing just now.")
        self.parts = parts

    def problem(self, request_id: str) -> dict[str, object]:
        return super().problem(request_id) | {"parts": self.parts}


class Probes:
    """Asks each part in a thread of its own, and never twice at a time, however many want to know.

    A thread that waits for a part that never answers cannot be ended: there is at most one of it.
    """

    def __init__(self, app: Flask, parts: Sequence[Part]) -> None:
        self._app = app
        self._parts = parts
        self._lock = Lock()
        self._asked: dict[str, Future[PartState]] = {}

    def ask(self) -> dict[str, PartState]:
        """The state of each part, after two seconds at most.

        Raises:
            NotReady: a vital part is away.
        """
        with self._lock:
            for part in self._parts:
                if part.name not in self._asked or self._asked[part.name].done():
                    self._asked[part.name] = self._begin(part)
            asked = dict(self._asked)
        wait(asked.values(), timeout=_SECONDS)
        states = {
            name: answer.result() if answer.done() else PartState("away")
            for name, answer in asked.items()
        }
        if any(part.vital and states[part.name].status == "away" for part in self._parts):
            raise NotReady(states)
        return states

    def _begin(self, part: Part) -> Future[PartState]:
        answer: Future[PartState] = Future()
        # A daemon: a part that never answers does not keep the process from ending.
        Thread(target=self._ask, args=(part, answer), name=part.name, daemon=True).start()
        return answer

    def _ask(self, part: Part, answer: Future[PartState]) -> None:
        begun = time.monotonic()
        try:
            with self._app.app_context():
                part.ask()
        except Exception as error:  # noqa: BLE001  # whatever its client raises, it is away
            logger.warning("away: %s", part.name, extra={"reason": str(error)})
            status: Literal["up", "away"] = "away"
        else:
            status = "up"
        answer.set_result(PartState(status, round((time.monotonic() - begun) * 1000, 1)))


def init_app(app: Flask, parts: Sequence[Part]) -> None:
    app.extensions["probes"] = Probes(app, parts)
    app.add_url_rule("/health", "health", health)
    app.add_url_rule("/health/ready", "ready", ready)


@endpoint(allow=PUBLIC, transaction=None, returns=Health)
def health() -> dict[str, str]:
    """Whether this process answers; asks nothing of any other part."""
    return {"status": "ok"}


@endpoint(allow=PUBLIC, transaction=None, returns=Readiness, errors=(503,))
def ready() -> dict[str, Any]:
    """Whether this process can serve, and how long each part it depends on takes to answer."""
    parts = cast("Probes", current_app.extensions["probes"]).ask()
    complete = all(state.status == "up" for state in parts.values())
    return {"status": "ready" if complete else "degraded", "parts": parts}
