"""What happened, told in the transaction of the change: it is recorded with it or not at all.

A domain states its events as frozen dataclasses in its ``events.py`` and tells them by `record`.
Who listens is wired by the factory, so that no domain imports another for it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Final
from uuid import UUID

from flask import Flask, current_app
from sqlalchemy.orm import Session


@dataclass(frozen=True, kw_only=True)
class Event:
    """Base of every event. The fields are what JSON can hold, and UUIDs; none is a secret.

    ``type`` is stored with each event and never changes its meaning: "document.uploaded".
    ``target`` names the field that holds the id of what the event is about.
    """

    type: ClassVar[str]
    target: ClassVar[str]

    @property
    def target_id(self) -> object:
        return getattr(self, self.target)

    def details(self) -> dict[str, Any]:
        """The fields but the target."""
        return {name: value for name, value in asdict(self).items() if name != self.target}


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Who does it, from where, in which request or job."""

    user_id: UUID | None = None
    session_id: UUID | None = None
    address: str | None = None
    request_id: str | None = None
    task: str | None = None


Recorder = Callable[[Session, Event, Origin], None]

_NOWHERE: Final = Origin()
_origin: ContextVar[Origin] = ContextVar("origin")


def init_app(app: Flask, recorders: Sequence[Recorder]) -> None:
    app.extensions["event_recorders"] = tuple(recorders)


def record(session: Session, event: Event) -> None:
    """Tells the event to every recorder, in the session's transaction."""
    for recorder in current_app.extensions["event_recorders"]:
        recorder(session, event, current_origin())


def current_origin() -> Origin:
    return _origin.get(_NOWHERE)


@contextmanager
def originating(origin: Origin) -> Iterator[None]:
    """The events of the block come from there."""
    token = _origin.set(origin)
    try:
        yield
    finally:
        _origin.reset(token)
