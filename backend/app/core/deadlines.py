"""How long a request may take: when its time is over, so is its SQL, and the answer is 503.

What is under way in a database is bounded by PostgreSQL's ``statement_timeout``, set to what is
left of the time; nothing is begun any more afterwards. Most requests are over before anything has
to be set: in the first tenth of the time the connection's own limit will do, unless it is longer.

Routes that carry files or live streams have no deadline: how long those take, their clients decide.
Nor have jobs, and what a request leaves to the background.
"""

import time
from contextvars import ContextVar
from dataclasses import dataclass
from math import ceil
from typing import Any, Final

from psycopg.pq.abc import PGconn
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import ExceptionContext

from app.core.errors import Unavailable

_FREE: Final = 0.1
# By which the server's clock may be ahead of ours.
_TOLERANCE: Final = 0.1
_BOUND: Final = "SELECT set_config('statement_timeout', %s, %s)"
_CANCELED: Final = "57014"


class DeadlineExceeded(Unavailable):
    """The request took longer than this installation lets one take; what it wrote was rolled back.

    Repeat the request after the seconds in Retry-After; where that is possible, ask for less.
    """

    code = "deadline_exceeded"
    retry_after = 5


@dataclass(frozen=True, slots=True)
class Deadline:
    """``end`` is by `time.monotonic`; before ``free``, a connection's own limit will do."""

    seconds: float
    free: float
    end: float


@dataclass(frozen=True, slots=True)
class Limit:
    """How long a request may take, and the longest statement of any connection, in seconds."""

    seconds: float
    statement: float

    def from_(self, came: float) -> Deadline:
        free = _FREE * self.seconds if self.statement <= self.seconds else 0.0
        return Deadline(self.seconds, came + free, came + self.seconds)


# When the request in hand came to this process, where somebody knows better than the application.
arrived: ContextVar[float | None] = ContextVar("arrived", default=None)
_current: ContextVar[Deadline | None] = ContextVar("deadline", default=None)


class kept:  # noqa: N801  # read as a verb; a generator's context would cost thrice as much
    """The block's SQL is over when the request's time is; None is no deadline.

    Raises:
        DeadlineExceeded: at the first statement that is too late; what cleans up may go on.
    """

    __slots__ = ("_limit", "_token")

    def __init__(self, limit: Limit | None) -> None:
        self._limit = limit

    def __enter__(self) -> None:
        came = arrived.get() or time.monotonic()
        self._token = _current.set(None if self._limit is None else self._limit.from_(came))

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)
        arrived.set(None)


def lift() -> None:
    """For what goes on without the request."""
    _current.set(None)


def watch(engine: Engine) -> None:
    """Bounds this engine's statements by the deadline of the request that sends them."""
    event.listen(engine, "before_cursor_execute", _bound)
    event.listen(engine, "handle_error", _explain)
    event.listen(engine, "reset", _unbound)


def _bound(connection: object, *_: Any) -> None:
    if not isinstance(connection, Connection):
        return  # a question, which bounds itself
    if (milliseconds := _left()) is None:
        return
    pooled = connection.connection
    driver: Any = pooled.driver_connection
    driver.execute(_BOUND, (str(milliseconds), not driver.autocommit))
    if driver.autocommit:  # else it ends with the transaction
        pooled.info["bounded"] = True


def _unbound(connection: Any, record: Any, _state: Any) -> None:
    if record.info.pop("bounded", False) and connection.autocommit and not connection.closed:
        connection.execute("RESET statement_timeout")


def bound_alone(pgconn: PGconn, info: dict[Any, Any]) -> None:
    """Bounds the statement that follows on this connection, where no transaction is.

    Raises:
        DeadlineExceeded: it is too late for it.
    """
    if (milliseconds := _left()) is not None:
        info["bounded"] = True
        pgconn.exec_(b"BEGIN; SET LOCAL statement_timeout = %d" % milliseconds)


def unbound_alone(pgconn: PGconn, info: dict[Any, Any]) -> None:
    """Takes back what `bound_alone` set, if anything."""
    if info.pop("bounded", False):
        pgconn.exec_(b"COMMIT")


def _left() -> int | None:
    """In milliseconds, or None while the connection's own limit will do."""
    deadline = _current.get()
    if deadline is None or (now := time.monotonic()) < deadline.free:
        return None
    if now >= deadline.end:
        raise _exceeded(deadline)
    return ceil(1000 * (deadline.end - now))


def _explain(context: ExceptionContext) -> None:
    explain(context.original_exception)


def explain(error: BaseException) -> None:
    """Raises what it means where the server cancelled a statement because of the deadline."""
    deadline = _current.get()
    if deadline is None or getattr(error, "sqlstate", None) != _CANCELED:
        return
    if time.monotonic() >= deadline.end - _TOLERANCE:
        raise _exceeded(deadline) from error


def _exceeded(deadline: Deadline) -> DeadlineExceeded:
    lift()
    return DeadlineExceeded(f"This took longer than {deadline.seconds:g} s and was broken off.")
