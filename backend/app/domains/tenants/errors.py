"""What can go wrong with a tenant."""

from app.core.errors import Conflict, Unavailable


class SlugTaken(Conflict):
    code = "slug_taken"


class WrongState(Conflict):
    """The tenant's state does not allow this."""

    code = "wrong_tenant_state"


class ProvisioningFailed(Unavailable):
    """The tenant is registered and its database could not be made; it can be retried."""

    code = "provisioning_failed"
    retry_after = 10
