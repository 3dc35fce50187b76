"""Redis, for what may be forgotten: counters and jobs' messages. Records live in PostgreSQL."""

from typing import cast

from flask import Flask, current_app
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as ConnectionLost
from redis.retry import Retry

from app.settings import Settings


def init_app(app: Flask, settings: Settings) -> None:
    app.extensions["redis"] = connect(settings, timeout=settings.redis_timeout_seconds)


def connect(settings: Settings, *, timeout: float) -> Redis:
    """A client whose commands take ``timeout`` seconds at most, and as long again to connect.

    A connection that died in the pool is replaced once; a server that does not answer is not asked
    twice.
    """
    return Redis.from_url(
        settings.redis_url.get_secret_value(),
        decode_responses=True,
        socket_connect_timeout=timeout,
        socket_timeout=timeout,
        retry=Retry(NoBackoff(), 1, supported_errors=(ConnectionLost,)),
    )


def ping() -> None:
    """Returns when Redis answers; raises an error of its client otherwise."""
    cast("Redis", current_app.extensions["redis"]).ping()
