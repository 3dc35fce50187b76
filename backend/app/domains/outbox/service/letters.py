"""Dead letters, and what waits to be tried again: what an operator sees and decides."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import func

from app.core import events
from app.core.db import MainSession, platform_session
from app.core.pages import Cursors, Page, page_of
from app.core.readings import EventFigures
from app.domains.outbox import queries
from app.domains.outbox.errors import LetterNotFound, LetterWaits
from app.domains.outbox.events import LetterDropped, LetterReplayed
from app.domains.outbox.models import LetterState, Undelivered

MOST_AT_ONCE: Final = 1000


def list_letters(
    session: MainSession,
    *,
    cursors: Cursors,
    cursor: str | None,
    limit: int,
    state: LetterState,
    tenant_id: UUID | None,
    consumer: str | None,
) -> Page[Undelivered]:
    """The oldest first. The session is an administrator's, or the platform's."""
    rows = queries.letters(
        session,
        states=[state],
        tenant_id=tenant_id,
        consumer=consumer,
        after=None if cursor is None else cursors.load(cursor),
        limit=limit + 1,
    )
    return page_of(rows, limit=limit, cursors=cursors, id_of=lambda row: row.id)


def letters(
    session: MainSession, *, states: Collection[LetterState], limit: int, **chosen: Any
) -> Sequence[Undelivered]:
    """The same for a script; ``chosen`` as in `replay_range`."""
    return queries.letters(session, states=states, limit=limit, **chosen)


def replay(session: MainSession, *, letter_id: UUID) -> Undelivered:
    """Has the event tried again at once, with all its attempts before it.

    It keeps its place before the later events of its key that still wait; those that were handled
    meanwhile were so without it.

    Raises:
        LetterNotFound: there is none.
        LetterWaits: it was not given up.
    """
    letter = _dead(session, letter_id)
    _replay(session, letter)
    return letter


def replay_range(
    session: MainSession,
    *,
    tenant_id: UUID | None,
    consumer: str | None,
    since: datetime | None,
    until: datetime | None,
) -> int:
    """The same for the oldest `MOST_AT_ONCE` dead letters that were put aside then; how many."""
    found = queries.letters(
        session,
        states=[LetterState.DEAD],
        tenant_id=tenant_id,
        consumer=consumer,
        since=since,
        until=until,
        limit=MOST_AT_ONCE,
    )
    for letter in found:
        _replay(session, letter)
    return len(found)


def drop(session: MainSession, *, letter_id: UUID) -> Undelivered:
    """Forgets the event, for this handler.

    Raises:
        LetterNotFound: there is none.
        LetterWaits: it was not given up.
    """
    letter = _dead(session, letter_id)
    events.record(session, _told(LetterDropped, letter))
    session.delete(letter)
    return letter


def note_lags(lags: Mapping[tuple[str, int], int]) -> None:
    """What a consumer has not read yet, of each topic and partition: for /metrics."""
    with platform_session() as session:
        queries.put_lags(session, lags)


def backlog(session: MainSession) -> EventFigures:
    return EventFigures(*queries.backlog(session))


def _dead(session: MainSession, letter_id: UUID) -> Undelivered:
    letter = queries.letter_for_change(session, letter_id)
    if letter is None:
        raise LetterNotFound("There is no such dead letter.")
    if letter.state != LetterState.DEAD:
        raise LetterWaits("This event is tried again by itself.")
    return letter


def _replay(session: MainSession, letter: Undelivered) -> None:
    letter.state, letter.attempts, letter.due_at = LetterState.PARKED, 0, func.now()
    events.record(session, _told(LetterReplayed, letter))


def _told(
    event: type[LetterDropped | LetterReplayed], letter: Undelivered
) -> LetterDropped | LetterReplayed:
    return event(
        letter_id=letter.id,
        tenant_id=letter.tenant_id,
        consumer=letter.consumer,
        event_id=letter.event_id,
    )
