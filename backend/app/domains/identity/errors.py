"""What can go wrong when somebody signs in."""

from app.core.errors import Conflict, Unauthenticated


class WrongCredentials(Unauthenticated):
    """The same for an unknown account and a wrong password."""

    code = "wrong_credentials"


class RefreshRefused(Unauthenticated):
    code = "refresh_refused"


class EmailTaken(Conflict):
    code = "email_taken"
