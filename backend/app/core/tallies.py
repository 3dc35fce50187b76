"""Counts of what processes without a /metrics of their own did, kept in Redis for those with one.

They may be forgotten: who reads them knows counters that begin anew.
"""

import logging
from typing import cast

from flask import Flask, current_app
from redis import Redis
from redis.exceptions import RedisError

from app.settings import Settings

logger = logging.getLogger(__name__)


class Tallies:
    def __init__(self, redis: Redis, installation_id: str) -> None:
        self._redis = redis
        self._installation_id = installation_id

    def add(self, name: str, label: str) -> None:
        """One more; ``label`` is of a small set."""
        try:
            self._redis.hincrby(self._key(name), label, 1)
        except RedisError as error:
            logger.warning("not counted: %s", name, extra={"reason": str(error)})

    def read(self, name: str) -> dict[str, int]:
        """The counts by label.

        Raises:
            RedisError: Redis does not answer.
        """
        counts = cast("dict[str, str]", self._redis.hgetall(self._key(name)))
        return {label: int(count) for label, count in counts.items()}

    def _key(self, name: str) -> str:
        return f"{self._installation_id}:tally:{name}"


def init_app(app: Flask, settings: Settings) -> None:
    app.extensions["tallies"] = Tallies(app.extensions["redis"], settings.installation_id)


def current_tallies() -> Tallies:
    return cast("Tallies", current_app.extensions["tallies"])
