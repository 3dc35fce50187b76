"""Mails to people, and how many of them one address gets."""

import logging
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, text

from app.core import clock
from app.core.db import MainSession
from app.core.letters import Letter
from app.domains.identity import queries
from app.domains.identity.models import SentMail
from app.integrations.mailer import Mailer, MailRefused, Message
from app.settings import Settings

logger = logging.getLogger(__name__)

_MINUTE: Final = timedelta(minutes=1)
_HOUR: Final = timedelta(hours=1)
# The most to one address: about one topic in a minute and in an hour, of one kind in an hour.
_PACE: Final = 1, 5, 20

_LOCK: Final = text("SELECT pg_try_advisory_xact_lock(hashtextextended('mail/' || :address, 0))")


def admit(session: MainSession, *, address: str, topic: str) -> bool:
    """Whether one more mail may go to the address now; if so, it is counted.

    A topic is a kind, or "kind/…" where others of its kind are not to stop it at once: nobody's
    invitations keep a password's reset back.

    Of two at the same time only one may: nobody waits while the other is sent.
    """
    if not session.scalar(_LOCK, {"address": address}):
        return False
    kind = topic.partition("/")[0]
    lately = (
        queries.count_mails(session, address, topic=topic, within=_MINUTE),
        queries.count_mails(session, address, topic=topic, within=_HOUR),
        queries.count_mails(session, address, topic=kind, within=_HOUR),
    )
    if any(count >= most for count, most in zip(lately, _PACE, strict=True)):
        logger.info("no further mail to this address for now", extra={"topic": topic})
        return False
    session.add(SentMail(address=address, topic=topic))
    return True


def send(mailer: Mailer, *, to: str, letter: Letter) -> bool:
    """Sends the letter; False, and a line in the log, where no server will ever take it.

    Raises:
        MailUnavailable: the job has to try again.
    """
    try:
        mailer.send(Message(to=to, subject=letter.subject, text=letter.text, html=letter.html))
    except MailRefused:
        logger.warning("a mail was refused for good", exc_info=True)
        return False
    return True


def link(settings: Settings, page: str, token: str) -> str:
    """The page's address with the token.

    A browser sends what stands behind # to no server: it is in no access log and no Referer.
    """
    return f"{settings.link_origin}/{page}#token={token}"


def shown(moment: datetime) -> str:
    """A moment as letters say it."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def forget_sent(session: MainSession) -> None:
    """Forgets the mails that no longer count."""
    session.execute(delete(SentMail).where(SentMail.created_at < clock.now() - _HOUR))
