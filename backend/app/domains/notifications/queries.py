"""Reads of notifications and preferences."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Select, func, select

from app.core.db import MainSession
from app.domains.notifications.models import Notification, NotificationPreference


def notifications(
    session: MainSession,
    *,
    user_id: UUID,
    before: UUID | None,
    unread_only: bool,
    limit: int,
) -> Sequence[Notification]:
    """Newest first, at most ``limit``, older than the id given."""
    statement = _listed(user_id).order_by(Notification.id.desc()).limit(limit)
    if unread_only:
        statement = statement.where(Notification.read_at.is_(None))
    if before is not None:
        statement = statement.where(Notification.id < before)
    return session.scalars(statement).all()


def notifications_after(
    session: MainSession, *, user_id: UUID, after: UUID, limit: int
) -> Sequence[Notification]:
    """The oldest first."""
    statement = _listed(user_id).where(Notification.id > after).order_by(Notification.id)
    return session.scalars(statement.limit(limit)).all()


def notification_for_change(
    session: MainSession, *, user_id: UUID, notification_id: UUID
) -> Notification | None:
    return session.scalar(
        select(Notification)
        .where(Notification.id == notification_id, Notification.user_id == user_id)
        .with_for_update()
    )


def unread(session: MainSession, *, user_id: UUID) -> int:
    statement = select(func.count()).where(
        Notification.user_id == user_id, Notification.listed, Notification.read_at.is_(None)
    )
    return session.scalar(statement) or 0


def count_mailed(session: MainSession, *, user_id: UUID, since: datetime) -> int:
    statement = select(func.count()).where(
        Notification.user_id == user_id, Notification.mailed_at >= since
    )
    return session.scalar(statement) or 0


def preferences(session: MainSession, *, user_id: UUID) -> Mapping[str, NotificationPreference]:
    """By their kinds."""
    statement = select(NotificationPreference).where(NotificationPreference.user_id == user_id)
    return {row.kind: row for row in session.scalars(statement)}


def preferences_for(
    session: MainSession, *, kind: str, user_ids: Collection[UUID]
) -> Mapping[UUID, NotificationPreference]:
    """Those of several people about one kind; a tenant's session sees its members' alone."""
    statement = select(NotificationPreference).where(
        NotificationPreference.kind == kind, NotificationPreference.user_id.in_(user_ids)
    )
    return {row.user_id: row for row in session.scalars(statement)}


def older_than(before: datetime) -> Select[UUID]:
    return select(Notification.id).where(Notification.created_at < before)


def _listed(user_id: UUID) -> Select[Notification]:
    return select(Notification).where(Notification.user_id == user_id, Notification.listed)
