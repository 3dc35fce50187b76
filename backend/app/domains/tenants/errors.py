"""What can go wrong with a tenant."""

from app.core.errors import (
    Conflict,
    Forbidden,
    Gone,
    NotFound,
    Unauthenticated,
    Unavailable,
    Unprocessable,
)


class SlugTaken(Conflict):
    """Another tenant has this slug.

    Choose another slug.
    """

    code = "slug_taken"


class TenantLimitReached(Conflict):
    """There are MAX_TENANTS tenants; deleted ones do not count."""

    code = "tenant_limit_reached"


class NotConfirmed(Unprocessable):
    """What is to be deleted was not named."""

    code = "deletion_not_confirmed"


class MemberNotFound(NotFound):
    """The person is no member of the tenant."""

    code = "member_not_found"


class OwnersOnly(Forbidden):
    """Only an owner makes owners, and changes or removes one.

    Ask an owner of the tenant.
    """

    code = "owners_only"


class LastOwner(Conflict):
    """A tenant keeps at least one owner.

    Make another member an owner first.
    """

    code = "last_owner"


class WrongState(Conflict):
    """The tenant's state does not allow this."""

    code = "wrong_tenant_state"


class TenantReadOnly(Forbidden):
    """The platform's administrators let the tenant's data be read, and not changed.

    Ask the operator.
    """

    code = "tenant_read_only"


class TenantHeld(Unavailable):
    """The tenant's data can be read, and for a moment not be changed: they are being moved."""

    code = "tenant_held"
    retry_after = 5


class AlreadyHeld(Conflict):
    """Other work keeps the tenant read-only at this moment."""

    code = "tenant_already_held"


class CannotBeReadOnly(Conflict):
    """The tenant's schema is older than the right to read alone; migrate the tenant first."""

    code = "cannot_be_read_only"


class KeptDatabaseNotFound(NotFound):
    """Beside the tenant's database lies no such other one: it was dropped, or is the tenant's."""

    code = "kept_database_not_found"


class NotReadyToSwap(Conflict):
    """The database beside the tenant's was not restored to its end, or is being dropped."""

    code = "not_ready_to_swap"


class ProvisioningFailed(Unavailable):
    """The tenant is registered and its database could not be made; it can be retried."""

    code = "provisioning_failed"
    retry_after = 10


class DomainNotFound(NotFound):
    """The tenant has no such domain."""

    code = "domain_not_found"


class BadDomain(Unprocessable):
    """It is no domain that a tenant can have."""

    code = "bad_domain"


class DomainTaken(Conflict):
    """Another tenant has proven the domain, or this one claims it already."""

    code = "domain_taken"


class DomainUnverified(Unprocessable):
    """The tenant has not proven the domain, so it says nothing of who has an address there."""

    code = "domain_unverified"


class DomainNotProven(Conflict):
    """The challenge is not in the domain's DNS."""

    code = "domain_not_proven"


class RegistrationDisabled(Forbidden):
    """REGISTRATION_ENABLED is off: somebody who has an account makes the tenants."""

    code = "registration_disabled"


class RegistrationInvalid(NotFound):
    """No registration waits for this token, or its time is over."""

    code = "token_invalid"


class AlreadyMember(Conflict):
    """The person is a member of the tenant already."""

    code = "already_member"


class InvitationNotFound(NotFound):
    """The tenant has no such invitation."""

    code = "invitation_not_found"


class InvitationOver(Gone):
    """It was accepted, revoked or has expired, or whoever sent it may not invite any more."""

    code = "invitation_over"


class TenantNotOpen(Conflict):
    """The tenant that one is invited to takes nobody in at the moment, or is no more."""

    code = "tenant_not_open"


class SignInToAccept(Unauthenticated):
    """The invited address has an account, whose owner has to accept."""

    code = "sign_in_to_accept"


class InvitedAnother(Forbidden):
    """The invitation is for another address than that of the person who is signed in."""

    code = "invitation_for_another"


class ServerNotFound(NotFound):
    """There is no PostgreSQL server of this name."""

    code = "server_not_found"


class ServerTaken(Conflict):
    """There is a PostgreSQL server of this name."""

    code = "server_taken"


class ServerInUse(Conflict):
    """Tenants lie on the server.

    Move them to another first.
    """

    code = "server_in_use"


class NoSuchRegion(Unprocessable):
    """No PostgreSQL server is in this region."""

    code = "no_such_region"


class NoServerFree(Unavailable):
    """No PostgreSQL server has room for another tenant; the operator has to add one."""

    code = "no_server_free"
    retry_after = 300


class CannotMove(Conflict):
    """The tenant cannot be moved there: the detail says why."""

    code = "tenant_cannot_move"


class MoveFailed(Unavailable):
    """The tenant could not be moved, and is served where it was."""

    code = "tenant_move_failed"
    retry_after = 60


class SandboxNotFound(NotFound):
    """The tenant has no such sandbox, or it is purged."""

    code = "sandbox_not_found"


class SandboxOfSandbox(Conflict):
    """A sandbox cannot be copied.

    Copy the tenant that it is a copy of.
    """

    code = "sandbox_of_sandbox"
