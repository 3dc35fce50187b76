"""What happened, told in the transaction of the change: it is recorded with it or not at all.

A domain states its events as frozen dataclasses in its ``events.py`` and tells them by `record`.
Who listens is wired by the factory, so that no domain imports another for it. An event with a
``public_version`` is meant for others as well: it leaves the house by the outbox (docs/events.md).
"""

from collections.abc import Callable, Sequence
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
    ``target`` names the field that holds the id of what the event is about. What is not ``audited``
    asks the house for work: what comes of that is told by another event.

    With a ``public_version`` others are told as well, on ``topic``, of all fields but those that
    are ``withheld``: names, addresses and texts stay where they are. A version's fields are never
    changed and never fewer; what cannot be said with more of them is a new version.
    """

    type: ClassVar[str]
    target: ClassVar[str]
    public_version: ClassVar[int | None] = None
    topic: ClassVar[str] = "events"
    withheld: ClassVar[frozenset[str]] = frozenset()
    audited: ClassVar[bool] = True

    @classmethod
    def public_type(cls) -> str:
        """The name that others know it by: "document.uploaded.v1"."""
        return f"{cls.type}.v{cls.public_version}"

    @property
    def target_id(self) -> object:
        return getattr(self, self.target)

    def details(self) -> dict[str, Any]:
        """The fields but the target."""
        return {name: value for name, value in asdict(self).items() if name != self.target}

    def public_fields(self) -> dict[str, Any]:
        """What others are told."""
        return {name: value for name, value in asdict(self).items() if name not in self.withheld}


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Who does it, from where, in which request or job; a job may do it on somebody's behalf.

    ``by_platform``: in an office of the platform, and not as a member of a tenant.
    """

    user_id: UUID | None = None
    on_behalf_of: UUID | None = None
    session_id: UUID | None = None
    address: str | None = None
    request_id: str | None = None
    task: str | None = None
    by_platform: bool = False

    @property
    def person(self) -> UUID | None:
        """Who is behind it, directly or not."""
        return self.user_id or self.on_behalf_of


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


class originating:  # noqa: N801  # read as a verb; a generator's context would cost thrice as much
    """The events of the block come from there."""

    __slots__ = ("_origin", "_token")

    def __init__(self, origin: Origin) -> None:
        self._origin = origin

    def __enter__(self) -> None:
        self._token = _origin.set(self._origin)

    def __exit__(self, *_: object) -> None:
        _origin.reset(self._token)
