"""Failures of work that is tried again by itself: a part that is away, or a surprise."""

import logging
from typing import Final

from redis.exceptions import RedisError
from sqlalchemy.exc import DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.core.errors import Unavailable

_AWAY: Final = (
    Unavailable,
    OperationalError,
    InterfaceError,
    DisconnectionError,
    PoolTimeout,
    RedisError,
    OSError,
)


def log_failure(logger: logging.Logger, message: str, error: Exception, **extra: object) -> None:
    """A part that is away is told of in a line, for its trace says no more; a surprise with it."""
    if isinstance(error, _AWAY):
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        logger.warning(message, extra={"reason": reason, **extra})
    else:
        logger.error(message, exc_info=error, extra=extra)
