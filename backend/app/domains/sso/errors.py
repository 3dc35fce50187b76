"""What can go wrong when somebody signs in with a directory, or sets that up."""

from app.core.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    NotFound,
    Unavailable,
    Unprocessable,
)


class NotConfigured(NotFound):
    """The tenant has no directory."""

    code = "sso_not_configured"


class ConfigTaken(Conflict):
    """Somebody else changed the tenant's directory at the same moment."""

    code = "sso_config_taken"


class BadConfiguration(Unprocessable):
    """What is given of the directory does not fit together."""

    code = "sso_bad_configuration"


class DirectoryNotFound(Conflict):
    """There is no directory with this id, or it is not the one that it says it is.

    Check the directory's id (Entra calls it the tenant ID).
    """

    code = "sso_directory_not_found"


class NotTested(Conflict):
    """A directory is switched on after somebody has signed in by it for a test.

    Ask for a test, and sign in at its login_url.
    """

    code = "sso_not_tested"


class NotActive(Conflict):
    """The tenant's members cannot be made to sign in with a directory that is not active."""

    code = "sso_not_active"


class NotAvailable(NotFound):
    """There is no such tenant, or its members do not sign in with a directory."""

    code = "sso_not_available"


class ReturnRefused(Unprocessable):
    """After signing in, browsers are sent to pages of this product alone.

    Use an address below WEB_URL, or of an origin in CORS_ORIGINS.
    """

    code = "sso_return_refused"


class CodeInvalid(BadRequest):
    """The code was never given out, is used or has expired, or the verifier is not its own.

    Sign in once more.
    """

    code = "sso_code_invalid"


class LinkInvalid(BadRequest):
    """The link_token was never given out, is used or has expired, or is of another account.

    Sign in with the directory once more.
    """

    code = "sso_link_invalid"


class ConnectionLost(Forbidden):
    """The directory gives no tokens for this person any more, or wants a further sign-in.

    Sign in with the directory again, at ``login_url``.
    """

    code = "sso_connection_lost"

    def __init__(self, detail: str, *, login_url: str) -> None:
        super().__init__(detail)
        self.login_url = login_url

    def problem(self, request_id: str) -> dict[str, object]:
        return super().problem(request_id) | {"login_url": self.login_url}


class NoConnection(NotFound):
    """The account is linked with no directory."""

    code = "sso_no_connection"


class ParcelsUnavailable(Unavailable):
    """What a sign-in has to remember for ten minutes cannot be kept or found just now."""

    code = "sso_unavailable"


class LoginRefused(Exception):
    """A sign-in that ends here; beside it each has the status that it is answered with.

    ``reason`` is for the trail, ``aadsts`` Entra's number, ``account`` what the token called it;
    ``return_to`` is the page that waits to be told.
    """

    return_to: str | None = None

    def __init__(
        self, detail: str, *, reason: str, aadsts: str | None = None, account: str | None = None
    ) -> None:
        super().__init__(detail)
        self.reason, self.aadsts, self.account = reason, aadsts, account


class StateInvalid(LoginRefused, BadRequest):
    """This sign-in was not begun in this browser, has expired, or has come to its end already.

    Sign in once more.
    """

    code = "sso_state_invalid"


class DirectoryRefused(LoginRefused, Forbidden):
    """The directory did not sign the person in.

    The detail says what its administrators can do.
    """

    code = "sso_refused"


class TokenRefused(LoginRefused, Forbidden):
    """What the directory sent does not prove who has signed in.

    Sign in once more; if that fails too, tell the operator.
    """

    code = "sso_token_invalid"


class AccountRefused(LoginRefused, Forbidden):
    """The account here is inactive or no member of the tenant, or its address is not proven.

    Ask an owner of the tenant.
    """

    code = "sso_account_refused"


class NoRole(LoginRefused, Forbidden):
    """None of the person's groups has a role in the tenant, and nobody has one by default.

    Ask an administrator of the directory for a group.
    """

    code = "sso_no_role"


class _Linkable(LoginRefused):
    """The person is proven, and no account is known for him or her: ``link_token`` joins one."""

    def __init__(self, detail: str, *, reason: str, account: str | None, link_token: str) -> None:
        super().__init__(detail, reason=reason, account=account)
        self.link_token = link_token

    def problem(self, request_id: str) -> dict[str, object]:
        problem: dict[str, object] = super().problem(request_id)  # type: ignore[misc]
        return problem | {"link_token": self.link_token}


class NotProvisioned(_Linkable, Forbidden):
    """The directory knows the person, and the tenant takes nobody in by that alone.

    Ask for an invitation; a member proves the account's password with link_token.
    """

    code = "sso_not_provisioned"


class LinkRequired(_Linkable, Conflict):
    """There is an account with the person's address, which a directory's word alone never opens.

    Prove its password once: POST /api/auth/sso/link with link_token.
    """

    code = "sso_link_required"
