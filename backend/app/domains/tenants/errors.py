"""What can go wrong with a tenant."""

from app.core.errors import Conflict, Forbidden, NotFound, Unavailable


class SlugTaken(Conflict):
    code = "slug_taken"


class MemberNotFound(NotFound):
    code = "member_not_found"


class OwnersOnly(Forbidden):
    """Only an owner makes owners, and changes or removes one."""

    code = "owners_only"


class LastOwner(Conflict):
    """A tenant keeps at least one owner."""

    code = "last_owner"


class WrongState(Conflict):
    """The tenant's state does not allow this."""

    code = "wrong_tenant_state"


class ProvisioningFailed(Unavailable):
    """The tenant is registered and its database could not be made; it can be retried."""

    code = "provisioning_failed"
    retry_after = 10
