"""Why a member cannot enter a tenant just now."""

from app.core.errors import Forbidden, Gone, Unavailable


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
