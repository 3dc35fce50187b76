"""Verbs about accounts."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy.exc import IntegrityError

from app.core import clock, events
from app.core.db import MainSession, record_despite
from app.core.errors import NotFound
from app.domains.identity import queries
from app.domains.identity.errors import EmailTaken, EmailUnverified, WrongPassword
from app.domains.identity.events import PasswordChanged, PasswordChangeRefused
from app.domains.identity.models import User
from app.domains.identity.service import proofs, sessions
from app.domains.identity.service.login import OpenSession
from app.domains.identity.service.passwords import Passwords


def create_user(
    session: MainSession,
    passwords: Passwords,
    *,
    email: str,
    name: str,
    password: str,
    platform_role: str | None = None,
    verified: bool = False,
) -> User:
    """A new account; ``verified`` where the address is known to be this person's.

    Raises:
        EmailTaken: somebody has this address.
    """
    user = add_user(
        session, email=email, name=name, password_hash=passwords.hash(password), verified=verified
    )
    user.platform_role = platform_role
    return user


def add_user(
    session: MainSession,
    *,
    email: str,
    name: str,
    password_hash: str | None,
    verified: bool,
    sso_provider: str | None = None,
) -> User:
    """`create_user` for a password that was hashed before, or for nobody's."""
    user = User(
        email=email.lower(),
        name=name,
        password_hash=password_hash,
        sso_provider=sso_provider,
        email_verified_at=clock.now() if verified else None,
    )
    try:
        with session.begin_nested():
            session.add(user)
    except IntegrityError as error:
        raise EmailTaken("There is an account with this address.") from error
    return user


def rename(session: MainSession, *, user_id: UUID, name: str) -> User:
    user = get_user(session, user_id)
    user.name = name
    return user


def change_password(
    open_session: OpenSession,
    passwords: Passwords,
    *,
    user_id: UUID,
    session_id: UUID,
    current_password: str,
    new_password: str,
) -> None:
    """Changes the password and ends all of the user's other sessions.

    Raises:
        WrongPassword: the present password is another one, or there is none.
    """
    with open_session() as session:
        known_hash = get_user(session, user_id).password_hash
    matches = passwords.matches(known_hash, current_password)
    new_hash = passwords.hash(new_password)
    with open_session() as session:
        user = queries.user_for_change(session, user_id)
        if user is None or not matches or user.password_hash != known_hash:
            raise record_despite(
                WrongPassword("The present password is not this one."),
                lambda own: events.record(own, PasswordChangeRefused(user_id=user_id)),
            )
        user.password_hash = new_hash
        session.flush()  # whoever signed in with the old one meanwhile has to be seen below
        events.record(session, PasswordChanged(user_id=user_id))
        sessions.end_other_sessions(
            session, user_id=user_id, session_id=session_id, reason="password_changed"
        )
        proofs.void(session, user_id=user_id, purpose=proofs.Purpose.RESET_PASSWORD)


def find_by_email(session: MainSession, email: str) -> User | None:
    return queries.user_by_email(session, email)


def get_users(session: MainSession, user_ids: Collection[UUID]) -> dict[UUID, User]:
    """Those of the users that exist, by their ids."""
    return {user.id: user for user in queries.users(session, user_ids)}


def require_verified(session: MainSession, user_id: UUID) -> None:
    """Refuses whoever has not shown that the account's address is his or hers.

    Raises:
        EmailUnverified: with that.
    """
    if not get_user(session, user_id).email_verified:
        raise EmailUnverified("Verify your e-mail address first: ask for a new link.")


def get_user(session: MainSession, user_id: UUID) -> User:
    user = queries.user(session, user_id)
    if user is None:
        raise NotFound("There is no such user.")
    return user
