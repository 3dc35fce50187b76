"""Whether this process answers, and whether the parts that it depends on do."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import wait
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, cast

from flask import Flask, current_app
from marshmallow import Schema, fields

from app.core.errands import Errand
from app.core.errors import Unavailable
from app.core.http import PUBLIC, endpoint

logger = logging.getLogger(__name__)

# All are asked side by side, so that this bounds the answer as well.
_SECONDS: Final = 2.0


class Health(Schema):
    EXAMPLE: Final = {"status": "ok"}

    status = fields.String(required=True)


class PartHealth(Schema):
    """``milliseconds`` is null where the part did not answer in time."""

    EXAMPLE: Final = {"status": "up", "milliseconds": 0.8}

    status = fields.String(required=True)
    milliseconds = fields.Float(required=True, allow_none=True)


class Readiness(Schema):
    """``status`` is "ready", or "degraded" while a part is "away" that some requests need."""

    EXAMPLE: Final = {
        "status": "ready",
        "parts": {"main_database": {"status": "up", "milliseconds": 0.8}},
    }

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
    """Asks all parts side by side."""

    def __init__(self, app: Flask, parts: Sequence[Part]) -> None:
        self._vital = {part.name for part in parts if part.vital}
        self._errands = {
            part.name: Errand(app, partial(_ask, part), name=part.name) for part in parts
        }

    def ask(self) -> dict[str, PartState]:
        """The state of each part, after two seconds at most.

        Raises:
            NotReady: a vital part is away.
        """
        asked = {name: errand.begin() for name, errand in self._errands.items()}
        wait(asked.values(), timeout=_SECONDS)
        states = {
            name: answer.result() if answer.done() else PartState("away")
            for name, answer in asked.items()
        }
        if any(states[name].status == "away" for name in self._vital):
            raise NotReady(states)
        return states


def _ask(part: Part) -> PartState:
    begun = time.monotonic()
    status: Literal["up", "away"] = "up"
    try:
        part.ask()
    except Exception as error:  # noqa: BLE001  # whatever its client raises, it is away
        logger.warning("away: %s", part.name, extra={"reason": str(error)})
        status = "away"
    return PartState(status, round((time.monotonic() - begun) * 1000, 1))


def init_app(app: Flask, parts: Sequence[Part]) -> None:
    app.extensions["probes"] = Probes(app, parts)
    app.add_url_rule("/health", "health", health)
    app.add_url_rule("/health/ready", "ready", ready)


@endpoint(allow=PUBLIC, transaction=None, limited=False, returns=Health)
def health() -> dict[str, str]:
    """Whether this process answers; asks nothing of any other part."""
    return {"status": "ok"}


@endpoint(allow=PUBLIC, transaction=None, limited=False, returns=Readiness, errors=(503,))
def ready() -> dict[str, Any]:
    """Whether this process can serve, and how long each part it depends on takes to answer."""
    parts = cast("Probes", current_app.extensions["probes"]).ask()
    complete = all(state.status == "up" for state in parts.values())
    return {"status": "ready" if complete else "degraded", "parts": parts}
