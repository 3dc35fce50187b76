"""Notifications while they come, as server-sent events (WHATWG HTML, section 9.2).

A stream asks the database once a second and ends after a while: it holds a thread of its process,
and whoever reads it comes back with the id of the last event. Ids sort by the time at which they
were given, not by that of the commit, so each question goes back a little; what comes twice, its
id tells.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final
from uuid import UUID

import orjson
from sqlalchemy.exc import SQLAlchemyError

from app.core import ids
from app.core.db import MainSession
from app.core.errors import AppError, Unauthenticated
from app.domains.notifications import queries
from app.domains.notifications.models import Notification

# A transaction that gave an id before another one did is over by then.
_OVERLAP_MILLISECONDS: Final = 10_000
_POLL_SECONDS: Final = 1.0
_RETRY_MILLISECONDS: Final = 3000
BATCH: Final = 100

Look = Callable[[UUID], tuple[Sequence[Notification], int]]


def look(session: MainSession, *, user_id: UUID, after: UUID) -> tuple[Sequence[Notification], int]:
    """What came after the id, the oldest first, and how many are unread."""
    found = queries.notifications_after(session, user_id=user_id, after=after, limit=BATCH)
    return found, queries.unread(session, user_id=user_id)


def stream(
    look_after: Look,
    *,
    last_id: UUID | None,
    seconds: float,
    dump: Callable[[Notification], Any],
) -> Iterator[bytes]:
    """Events ``notification`` and, whenever their number changes, ``unread``.

    It begins after ``last_id``, or now. ``look_after`` raises Unauthenticated once the session is
    over, which the event ``end`` tells.
    """
    yield f"retry: {_RETRY_MILLISECONDS}\n\n".encode()
    over_at, told, former = time.monotonic() + seconds, {last_id}, -1
    position = _before(min(last_id or ids.new_id(), ids.new_id()))
    while time.monotonic() < over_at:
        try:
            found, unread = look_after(position)
        except Unauthenticated:
            yield _event("end", {"reason": "session_ended"})
            return
        except (AppError, SQLAlchemyError):  # it comes back, and so does the client
            return
        for each in found:
            if each.id not in told:
                told.add(each.id)
                yield _event("notification", dump(each), event_id=each.id)
        if unread != former:
            former = unread
            yield _event("unread", {"unread": unread})
        if len(found) == BATCH:
            position = found[-1].id
            continue
        position = max(position, _before(ids.new_id()))
        yield b": still here\n\n"  # only what is written finds out that nobody reads any more
        time.sleep(max(0.0, min(_POLL_SECONDS, over_at - time.monotonic())))


def _before(event_id: UUID) -> UUID:
    """What an id was like a little earlier: it begins with milliseconds (RFC 9562, section 5.7)."""
    return UUID(int=max(0, event_id.int - (_OVERLAP_MILLISECONDS << 80)))


def _event(name: str, data: Any, *, event_id: UUID | None = None) -> bytes:
    """Orjson writes no line break that is not escaped."""
    head = f"id: {event_id}\n" if event_id else ""
    return f"{head}event: {name}\ndata: ".encode() + orjson.dumps(data) + b"\n\n"
