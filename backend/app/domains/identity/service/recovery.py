"""Verbs for people who cannot show yet who they are: verifying an address, a forgotten password.

Whoever asks learns nothing: known and unknown addresses make the same work, one look-up and one
job, and get the same answer. The job finds out whether there is anybody to write to.
"""

from uuid import UUID

from app.core import events, ids, letters
from app.core.db import MainSession
from app.domains.identity import queries
from app.domains.identity.events import PasswordReset
from app.domains.identity.models import User
from app.domains.identity.service import mails, proofs, sessions
from app.domains.identity.service.passwords import Passwords
from app.domains.identity.service.proofs import Purpose
from app.domains.jobs import service as jobs
from app.integrations.mailer import Mailer
from app.settings import Settings


def ask_for_verification(session: MainSession, *, email: str) -> None:
    jobs.schedule(session, "identity.send_verification", user_id=_somebody(session, email))


def ask_for_reset(session: MainSession, *, email: str) -> None:
    jobs.schedule(session, "identity.send_password_reset", user_id=_somebody(session, email))


def send_verification(
    session: MainSession, mailer: Mailer, settings: Settings, *, user_id: UUID
) -> None:
    user = queries.user(session, user_id)
    if user is not None and not user.email_verified:
        seconds = settings.email_verification_seconds
        _send(session, mailer, settings, user=user, purpose=Purpose.VERIFY_EMAIL, seconds=seconds)


def send_password_reset(
    session: MainSession, mailer: Mailer, settings: Settings, *, user_id: UUID
) -> None:
    user = queries.user(session, user_id)
    if user is not None:
        seconds = settings.password_reset_seconds
        _send(session, mailer, settings, user=user, purpose=Purpose.RESET_PASSWORD, seconds=seconds)


def verify_email(session: MainSession, *, token: str) -> None:
    """The token's user has shown that the address is his or hers.

    Raises:
        TokenInvalid: as `proofs.redeem`.
    """
    proofs.redeem(session, token=token, purpose=Purpose.VERIFY_EMAIL)


def reset_password(
    session: MainSession, passwords: Passwords, *, token: str, new_password: str
) -> None:
    """A new password; all sessions end, and no other link for a reset is good any more.

    Raises:
        TokenInvalid: as `proofs.redeem`.
    """
    new_hash = passwords.hash(new_password)  # before the session has a connection to hold
    user = proofs.redeem(session, token=token, purpose=Purpose.RESET_PASSWORD)
    user.password_hash = new_hash
    proofs.void(session, user_id=user.id, purpose=Purpose.RESET_PASSWORD)
    events.record(session, PasswordReset(user_id=user.id))
    sessions.end_all_sessions(session, user_id=user.id, reason="password_reset")


def _somebody(session: MainSession, email: str) -> str:
    """The id of the address's user, or of nobody."""
    user = queries.user_by_email(session, email)
    return str(ids.new_id() if user is None else user.id)


def _send(
    session: MainSession,
    mailer: Mailer,
    settings: Settings,
    *,
    user: User,
    purpose: Purpose,
    seconds: int,
) -> None:
    if not user.active or not mails.admit(session, address=user.email, topic=purpose):
        return
    token, expires_at = proofs.mint(session, user=user, purpose=purpose, seconds=seconds)
    link = mails.link(settings, purpose.replace("_", "-"), token)
    letter = letters.write(purpose, link=link, expires_at=mails.shown(expires_at))
    mails.send(mailer, to=user.email, letter=letter)
