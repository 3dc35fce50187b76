"""Jobs about notifications."""

from datetime import timedelta
from typing import Final
from uuid import UUID

from app.core.db import main_session, platform_session
from app.core.tasks import periodic, task
from app.domains.notifications.service import listing, mailing
from app.integrations.mailer import current_mailer
from app.settings import current_settings

_BATCH: Final = 1000


@task(name="notifications.send_mail", queue="mail", plane=None)
def send_mail(user_id: str, notification_id: str) -> None:
    """Sends a notification by mail, in its reader's name: it is nobody else's to see."""
    person = UUID(user_id)
    with main_session(user_id=person) as session:
        mailing.send(
            session,
            current_mailer(),
            current_settings(),
            user_id=person,
            notification_id=UUID(notification_id),
        )


@periodic(name="notifications.purge", every=timedelta(hours=1), queue="default", plane=None)
def purge() -> None:
    """Deletes old notifications, in short transactions."""
    kept, deleted = timedelta(days=current_settings().notification_days), _BATCH
    while deleted == _BATCH:
        with platform_session() as session:
            deleted = listing.purge(session, kept=kept, limit=_BATCH)
