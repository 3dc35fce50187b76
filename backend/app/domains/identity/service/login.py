"""Signing in with a password.

Argon2 takes a tenth of a second: no transaction is open, and no connection held, while it works.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Literal

from app.core import events
from app.core.db import MainSession, record_despite
from app.domains.identity import queries
from app.domains.identity.errors import WrongCredentials
from app.domains.identity.events import LoginFailed
from app.domains.identity.models import User
from app.domains.identity.service import sessions
from app.domains.identity.service.passwords import Passwords
from app.settings import Settings

OpenSession = Callable[[], AbstractContextManager[MainSession]]


def log_in(
    open_session: OpenSession,
    passwords: Passwords,
    settings: Settings,
    *,
    email: str,
    password: str,
    account: str,
    address: str | None,
    user_agent: str | None,
) -> sessions.Opened:
    """A new session for the owner of the password. ``account`` stands for the e-mail address.

    Raises:
        WrongCredentials: unknown, inactive, without or with another password: nobody can tell
            which, and each is the same work.
    """
    with open_session() as session:
        found = queries.user_by_email(session, email)
    known_hash = found.password_hash if found else None
    matches = passwords.matches(known_hash, password)
    admitted = matches and found is not None and found.active
    renewed = _renewed(passwords, known_hash, password) if admitted else None
    with open_session() as session:
        if found is None or not admitted:
            raise _refusal(found, account)
        user = queries.user_for_change(session, found.id)
        if user is None or not user.active or not _still(passwords, user, known_hash, password):
            raise _refusal(user, account)
        if renewed is not None and user.password_hash == known_hash:
            user.password_hash = renewed
        return sessions.open_session(
            session, settings, user=user, method="password", address=address, user_agent=user_agent
        )


def _renewed(passwords: Passwords, known_hash: str | None, password: str) -> str | None:
    """The password's hash with the parameters of today, where it has others."""
    outdated = known_hash is not None and passwords.outdated(known_hash)
    return passwords.hash(password) if outdated else None


def _still(passwords: Passwords, user: User, known_hash: str | None, password: str) -> bool:
    """Whether the password is right, also where its hash was changed after we had read it.

    Only then, rarely, argon2 works with the row locked.
    """
    return user.password_hash == known_hash or passwords.matches(user.password_hash, password)


def _refusal(user: User | None, account: str) -> WrongCredentials:
    event = LoginFailed(account=account, user_id=user.id if user else None, reason=_reason(user))
    return record_despite(
        WrongCredentials("The e-mail address or the password is wrong."),
        lambda own: events.record(own, event),
    )


def _reason(
    user: User | None,
) -> Literal["unknown_account", "inactive", "no_password", "wrong_password"]:
    if user is None:
        return "unknown_account"
    if not user.active:
        return "inactive"
    return "wrong_password" if user.password_hash else "no_password"
