"""Tables of the main database about notifications; row level security shows each user their own."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import DateTime, ForeignKey, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import MainModel
from app.core.stamps import Identified, Stamped, active_while


class Notification(Identified, MainModel):
    """One person is told of one event, in these words.

    Where it is not ``listed``, a mail alone tells of it. ``subject`` is the id of what it is about.
    It is active until it is read.
    """

    __tablename__ = "notifications"
    __table_args__ = (
        Index("ix_notifications_listed", "user_id", "id", postgresql_where=text("listed")),
        Index(
            "ix_notifications_unread",
            "user_id",
            "id",
            postgresql_where=text("listed AND read_at IS NULL"),
        ),
        Index("ix_notifications_created_at", "created_at"),
    )

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    # No foreign key: what was told outlives its tenant.
    tenant_id: Mapped[UUID | None]
    kind: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Text)
    title: Mapped[str] = mapped_column(Text)
    text: Mapped[str] = mapped_column(Text)
    listed: Mapped[bool]
    read_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    mailed_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    active: Mapped[bool] = active_while("read_at IS NULL")


class NotificationPreference(Stamped, MainModel):
    """How somebody wants to be told of one kind; without a row, as everybody is."""

    __tablename__ = "notification_preferences"

    user_id: Mapped[UUID] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    kind: Mapped[str] = mapped_column(Text, primary_key=True)
    in_app: Mapped[bool]
    mail: Mapped[bool]
    active: Mapped[bool] = active_while("in_app OR mail")
