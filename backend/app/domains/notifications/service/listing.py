"""What somebody was told, and what of it he or she has read."""

from datetime import timedelta
from typing import Any, cast
from uuid import UUID

from sqlalchemy import CursorResult, delete, update

from app.core import clock
from app.core.db import MainSession
from app.core.pages import Cursors, Page, page_of
from app.domains.notifications import queries
from app.domains.notifications.errors import NotificationNotFound
from app.domains.notifications.models import Notification


def list_notifications(
    session: MainSession,
    *,
    user_id: UUID,
    cursors: Cursors,
    cursor: str | None,
    limit: int,
    unread: bool,
) -> Page[Notification]:
    """Newest first; with ``unread``, only those."""
    before = None if cursor is None else cursors.load(cursor)
    rows = queries.notifications(
        session, user_id=user_id, before=before, unread_only=unread, limit=limit + 1
    )
    return page_of(rows, limit=limit, cursors=cursors, id_of=lambda row: row.id)


def count_unread(session: MainSession, *, user_id: UUID) -> int:
    return queries.unread(session, user_id=user_id)


def mark(session: MainSession, *, user_id: UUID, notification_id: UUID, read: bool) -> Notification:
    """As read, or as unread again.

    Raises:
        NotificationNotFound: the user has none of that id.
    """
    row = queries.notification_for_change(session, user_id=user_id, notification_id=notification_id)
    if row is None or not row.listed:
        raise NotificationNotFound("There is no such notification.")
    if read != (row.read_at is not None):
        row.read_at = clock.now() if read else None
    return row


def mark_all(session: MainSession, *, user_id: UUID, up_to: UUID | None) -> int:
    """As read, all or those up to this id, so that nothing is marked unseen; how many."""
    statement = update(Notification).where(
        Notification.user_id == user_id, Notification.listed, Notification.read_at.is_(None)
    )
    if up_to is not None:
        statement = statement.where(Notification.id <= up_to)
    result = session.execute(
        statement.values(read_at=clock.now()).execution_options(synchronize_session=False)
    )
    return int(cast("CursorResult[Any]", result).rowcount)


def purge(session: MainSession, *, kept: timedelta, limit: int) -> int:
    """Deletes the old ones, read or not; how many, up to the limit. Needs the platform's role."""
    old = queries.older_than(clock.now() - kept).limit(limit)
    result = session.execute(delete(Notification).where(Notification.id.in_(old)))
    return int(cast("CursorResult[Any]", result).rowcount)
