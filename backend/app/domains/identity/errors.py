"""What can go wrong when somebody signs in."""

from app.core.errors import Conflict, Forbidden, NotFound, Unauthenticated


class WrongCredentials(Unauthenticated):
    """The same for an unknown account and a wrong password.

    Check both.
    """

    code = "wrong_credentials"


class RefreshRefused(Unauthenticated):
    """The refresh token is unknown, was used before, or its session is over.

    Sign in again.
    """

    code = "refresh_refused"


class WrongPassword(Forbidden):
    """Somebody who is signed in did not give his or her present password.

    Send the present password.
    """

    code = "wrong_password"


class SessionNotFound(NotFound):
    """The caller has no such session."""

    code = "session_not_found"


class EmailTaken(Conflict):
    """An account has this e-mail address already."""

    code = "email_taken"


class EmailUnverified(Forbidden):
    """The account's address has to be proven first."""

    code = "email_unverified"


class TokenInvalid(NotFound):
    """The token of a mail was never given out, is used or has expired; nobody can tell which."""

    code = "token_invalid"
