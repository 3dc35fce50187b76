"""Answers that take long, such as server-sent events: each holds a thread, so there are few."""

from collections.abc import Callable
from threading import Lock
from typing import Final, cast
from uuid import UUID

from flask import Flask, current_app

from app.core.errors import Unavailable

EVENT_STREAM: Final = "text/event-stream"


class TooManyStreams(Unavailable):
    """The process holds as many live streams as it may, or the caller has one there already.

    Ask for the list from time to time, and for a stream again later.
    """

    code = "too_many_streams"
    retry_after = 30


class Streams:
    """Those of this process: ``most`` at a time, and one of each user."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = Lock()
        self._places: dict[object, UUID] = {}

    def enter(self, user_id: UUID) -> Callable[[], None]:
        """A place for a stream; to be called when it is over.

        Raises:
            TooManyStreams: there is none.
        """
        place = object()
        with self._lock:
            if user_id in self._places.values() or len(self._places) >= self._most:
                raise TooManyStreams("There is no room for one more stream; ask for the list.")
            self._places[place] = user_id
        return lambda: self._leave(place)

    def _leave(self, place: object) -> None:
        with self._lock:
            self._places.pop(place, None)


def init_app(app: Flask, most: int) -> None:
    app.extensions["streams"] = Streams(most)


def current_streams() -> Streams:
    return cast("Streams", current_app.extensions["streams"])
