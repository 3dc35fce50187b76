"""Why a member cannot enter a tenant just now."""

from app.core.errors import Forbidden, Gone, Unavailable


class ReauthenticationRequired(Forbidden):
    """The session was not authenticated by what this tenant takes.

    Sign in at ``login_url``, and add that to the session.
    """

    code = "reauthentication_required"

    def __init__(self, detail: str, *, login_url: str) -> None:
        super().__init__(detail)
        self.login_url = login_url

    def problem(self, request_id: str) -> dict[str, object]:
        return super().problem(request_id) | {"login_url": self.login_url}


class TenantSuspended(Forbidden):
    """The platform's administrators have suspended the tenant; its data are kept.

    Ask the operator.
    """

    code = "tenant_suspended"


class TenantDeleted(Gone):
    """Its owners and the platform may restore it while its period of grace lasts."""

    code = "tenant_deleted"


class TenantNotReady(Unavailable):
    """It is being made, or its schema is not one that this code can serve."""

    code = "tenant_not_ready"
    retry_after = 5
