"""Which tenants have told something that no relay has sent yet, kept in Redis.

A hint, as everything in Redis: without it a sweep finds the events, later. A mark is a random
value, so that a relay clears the one that it saw and never one that was set meanwhile.
"""

import logging
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, cast

from flask import Flask, current_app
from redis import Redis
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as TooSlow

from app.settings import Settings

logger = logging.getLogger(__name__)

# What a relay sets, to notice that Redis was emptied.
_KNOWN: Final = "known"
_CLEAR: Final = """
if redis.call('hget', KEYS[1], ARGV[1]) == ARGV[2] then
    return redis.call('hdel', KEYS[1], ARGV[1])
end
return 0
"""
# A request does not wait for a Redis that was away a moment ago.
_SILENCE_SECONDS: Final = 5.0


class Marks:
    """One hash: of each marked lane, "main" or a tenant's id, the mark."""

    def __init__(self, redis: "Redis", installation: str) -> None:
        self._redis = redis
        self._key = f"outbox:{installation}:dirty"
        self._clear = redis.register_script(_CLEAR)
        self._silent_until = float("-inf")

    def set(self, lane: str) -> None:
        """Says that the lane has events, or is about to; where Redis is away, says nothing."""
        with self.setting(lane):
            pass

    @contextmanager
    def setting(self, lane: str) -> Iterator[None]:
        """`set` beside what the block does: Redis has the mark when the block ends."""
        connection = self._send(lane)
        try:
            yield
        finally:
            if connection is None or not self._answered(connection):
                self._set_at_leisure(lane)

    def _send(self, lane: str) -> Any:
        """The connection on which Redis will answer; None where it cannot be asked like that."""
        if time.monotonic() < self._silent_until:
            return None
        connection: Any = None
        try:
            connection = self._redis.connection_pool.get_connection()
            connection.send_command("HSET", self._key, lane, _new_mark())
        except RedisError as error:
            self._note_slowness(error)
            if connection is not None:
                self._redis.connection_pool.release(connection)
            return None
        return connection

    def _answered(self, connection: Any) -> bool:
        try:
            connection.read_response()
        except RedisError as error:
            self._note_slowness(error)
            return False
        finally:
            self._redis.connection_pool.release(connection)
        return True

    def _set_at_leisure(self, lane: str) -> None:
        """As the client does it, with another connection where one died."""
        if time.monotonic() < self._silent_until:
            return
        try:
            self._redis.hset(self._key, lane, _new_mark())
        except RedisError as error:
            self._fall_silent(error)

    def _note_slowness(self, error: RedisError) -> None:
        """Any other error may pass with another connection."""
        if isinstance(error, TooSlow):
            self._fall_silent(error)

    def _fall_silent(self, error: RedisError) -> None:
        self._silent_until = time.monotonic() + _SILENCE_SECONDS
        logger.warning("outbox not marked; a walk will come past it", extra={"reason": str(error)})

    def read(self) -> tuple[Mapping[str, str], bool]:
        """The marks by lane, and whether Redis knew nothing of us: it was emptied.

        Raises:
            RedisError: it is away.
        """
        found = cast("dict[str, str]", self._redis.hgetall(self._key))
        emptied = found.pop(_KNOWN, None) is None
        if emptied:
            emptied = bool(self._redis.hsetnx(self._key, _KNOWN, "1"))
        return found, emptied

    def clear(self, lane: str, mark: str) -> None:
        """Removes this mark, unless another has taken its place.

        Raises:
            RedisError: it is away.
        """
        self._clear(keys=[self._key], args=[lane, mark])


def _new_mark() -> str:
    return secrets.token_hex(8)


def init_app(app: Flask, settings: Settings) -> Marks:
    marks = Marks(app.extensions["redis"], settings.installation_id)
    app.extensions["marks"] = marks
    return marks


def current_marks() -> Marks:
    return cast("Marks", current_app.extensions["marks"])
