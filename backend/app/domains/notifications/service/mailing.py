"""Notifications by mail."""

import logging
from datetime import timedelta
from typing import Final
from uuid import UUID

from app.core import clock, letters
from app.core.db import MainSession
from app.domains.identity.service import mails, users
from app.domains.notifications import policy, queries
from app.integrations.mailer import Mailer
from app.settings import Settings

logger = logging.getLogger(__name__)

_HOUR: Final = timedelta(hours=1)
# Whoever gets more looks into the list.
_MOST_IN_AN_HOUR: Final = 20
_CHOICE: Final = "There you also choose which of them you get by mail."


def send(
    session: MainSession,
    mailer: Mailer,
    settings: Settings,
    *,
    user_id: UUID,
    notification_id: UUID,
) -> None:
    """Sends one that was not sent yet.

    Raises:
        MailUnavailable: the job has to try again.
    """
    row = queries.notification_for_change(session, user_id=user_id, notification_id=notification_id)
    person = users.get_users(session, [user_id]).get(user_id)
    if row is None or row.mailed_at is not None or person is None or not person.active:
        return
    now = clock.now()
    fixed = policy.KINDS[row.kind].fixed
    if not fixed and (
        queries.count_mailed(session, user_id=user_id, since=now - _HOUR) >= _MOST_IN_AN_HOUR
    ):
        logger.info("no further mail of this kind for now", extra={"kind": row.kind})
        return
    letter = letters.write(
        "notification",
        link=f"{settings.link_origin}/notifications",
        title=row.title,
        text=row.text,
        choice="" if fixed else _CHOICE,
    )
    if mails.send(mailer, to=person.email, letter=letter):
        row.mailed_at = now
