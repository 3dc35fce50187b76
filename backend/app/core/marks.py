"""Which tenants have told something that no relay has sent yet, kept in Redis.

A hint, as everything in Redis: without it a sweep finds the events, later. A mark is a random
value, so that a relay clears the one that it saw and never one that was set meanwhile.
"""

import logging
import secrets
import time
from collections.abc import Mapping
from typing import Final, cast

from flask import Flask, current_app
from redis import Redis
from redis.exceptions import RedisError

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
        if time.monotonic() < self._silent_until:
            return
        try:
            self._redis.hset(self._key, lane, secrets.token_hex(8))
        except RedisError as error:
            self._silent_until = time.monotonic() + _SILENCE_SECONDS
            logger.warning(
                "outbox not marked; a walk will come past it", extra={"reason": str(error)}
            )

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


def init_app(app: Flask, settings: Settings) -> Marks:
    marks = Marks(app.extensions["redis"], settings.installation_id)
    app.extensions["marks"] = marks
    return marks


def current_marks() -> Marks:
    return cast("Marks", current_app.extensions["marks"])
