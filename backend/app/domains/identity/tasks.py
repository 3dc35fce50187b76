"""Jobs about people: their sessions, the keys of their tokens, mails to them."""

from datetime import timedelta
from typing import Final
from uuid import UUID

from flask import current_app

from app.core.db import MainSession, main_session
from app.core.tasks import periodic, task
from app.domains.identity.service import mails, proofs, recovery, rotation, sessions
from app.domains.identity.service.rotation import Pace
from app.integrations.mailer import current_mailer
from app.settings import current_settings

_BATCH: Final = 1000


@periodic(name="identity.purge_sessions", every=timedelta(hours=1), queue="default", plane=None)
def purge_sessions() -> None:
    """Deletes sessions that nobody can continue, in short transactions."""
    deleted = _BATCH
    while deleted == _BATCH:
        with main_session() as session:
            deleted = sessions.purge_sessions(session, limit=_BATCH)


@periodic(name="identity.rotate_keys", every=timedelta(hours=1), queue="default")
def rotate_keys(session: MainSession) -> None:
    """Takes the steps of the signing keys' lives that are due."""
    settings = current_settings()
    rotation.advance(
        session,
        current_app.extensions["secrets"],
        Pace.of(settings),
        oldest=timedelta(days=settings.signing_key_days),
    )


@periodic(name="identity.forget_mails", every=timedelta(hours=1), queue="default")
def forget_mails(session: MainSession) -> None:
    """Deletes tokens that are good no more, and what counted the mails of the hour before."""
    proofs.forget_expired(session)
    mails.forget_sent(session)


@task(name="identity.send_verification", queue="mail", plane="main")
def send_verification(session: MainSession, user_id: str) -> None:
    """Sends a link that verifies the user's address."""
    recovery.send_verification(session, current_mailer(), current_settings(), user_id=UUID(user_id))


@task(name="identity.send_password_reset", queue="mail", plane="main")
def send_password_reset(session: MainSession, user_id: str) -> None:
    """Sends a link that gives the user a new password."""
    recovery.send_password_reset(
        session, current_mailer(), current_settings(), user_id=UUID(user_id)
    )
