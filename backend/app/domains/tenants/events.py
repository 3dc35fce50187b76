"""What happens to tenants, their members and their domains."""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar
from uuid import UUID

from app.core.events import Event


@dataclass(frozen=True, kw_only=True)
class _OfTenant(Event):
    target: ClassVar[str] = "tenant_id"

    tenant_id: UUID


@dataclass(frozen=True, kw_only=True)
class TenantCreated(_OfTenant):
    """It is registered; its database follows."""

    type: ClassVar[str] = "tenant.created"
    public_version = 1

    slug: str
    name: str
    owner_id: UUID


@dataclass(frozen=True, kw_only=True)
class TenantRenamed(_OfTenant):
    type: ClassVar[str] = "tenant.renamed"

    former: str
    name: str


@dataclass(frozen=True, kw_only=True)
class TenantSuspended(_OfTenant):
    type: ClassVar[str] = "tenant.suspended"
    public_version = 1
    withheld = frozenset({"reason"})

    reason: str | None


@dataclass(frozen=True, kw_only=True)
class TenantResumed(_OfTenant):
    type: ClassVar[str] = "tenant.resumed"
    public_version = 1


@dataclass(frozen=True, kw_only=True)
class TenantMadeReadOnly(_OfTenant):
    type: ClassVar[str] = "tenant.made_read_only"

    reason: str | None


@dataclass(frozen=True, kw_only=True)
class TenantMadeWritable(_OfTenant):
    type: ClassVar[str] = "tenant.made_writable"


@dataclass(frozen=True, kw_only=True)
class TenantDatabaseSwapped(_OfTenant):
    """Another database is the tenant's from now on; ``backup_id`` where it came from a backup."""

    type: ClassVar[str] = "tenant.database_swapped"

    former: str
    present: str
    backup_id: UUID | None


@dataclass(frozen=True, kw_only=True)
class TenantDeleted(_OfTenant):
    """Its period of grace begins."""

    type: ClassVar[str] = "tenant.deleted"
    public_version = 1

    purge_at: datetime


@dataclass(frozen=True, kw_only=True)
class TenantRestored(_OfTenant):
    type: ClassVar[str] = "tenant.restored"
    public_version = 1

    state: str


@dataclass(frozen=True, kw_only=True)
class TenantPurged(_OfTenant):
    """Its database and files are gone."""

    type: ClassVar[str] = "tenant.purged"
    public_version = 1

    slug: str


@dataclass(frozen=True, kw_only=True)
class _OfMember(Event):
    target: ClassVar[str] = "user_id"

    user_id: UUID
    tenant_id: UUID


@dataclass(frozen=True, kw_only=True)
class RoleChanged(_OfMember):
    type: ClassVar[str] = "user.role_changed"
    public_version = 1

    former: str
    role: str


@dataclass(frozen=True, kw_only=True)
class MemberDeactivated(_OfMember):
    type: ClassVar[str] = "member.deactivated"


@dataclass(frozen=True, kw_only=True)
class MemberReactivated(_OfMember):
    type: ClassVar[str] = "member.reactivated"


@dataclass(frozen=True, kw_only=True)
class MemberRemoved(_OfMember):
    """By somebody else."""

    type: ClassVar[str] = "member.removed"
    public_version = 1

    role: str


@dataclass(frozen=True, kw_only=True)
class _OfDomain(Event):
    target: ClassVar[str] = "domain_id"

    domain_id: UUID
    tenant_id: UUID
    domain: str


@dataclass(frozen=True, kw_only=True)
class DomainClaimed(_OfDomain):
    type: ClassVar[str] = "domain.claimed"


@dataclass(frozen=True, kw_only=True)
class DomainVerified(_OfDomain):
    type: ClassVar[str] = "domain.verified"


@dataclass(frozen=True, kw_only=True)
class DomainRemoved(_OfDomain):
    type: ClassVar[str] = "domain.removed"


@dataclass(frozen=True, kw_only=True)
class RegistrationConfirmed(_OfTenant):
    """A stranger's address is proven; the tenant follows."""

    type: ClassVar[str] = "registration.confirmed"

    owner_id: UUID


@dataclass(frozen=True, kw_only=True)
class MemberLeft(_OfMember):
    """At his or her own wish."""

    type: ClassVar[str] = "member.left"

    role: str


@dataclass(frozen=True, kw_only=True)
class _OfInvitation(Event):
    target: ClassVar[str] = "invitation_id"

    invitation_id: UUID
    tenant_id: UUID


@dataclass(frozen=True, kw_only=True)
class MemberInvited(_OfInvitation):
    """Also when an open invitation is changed or sent once more."""

    type: ClassVar[str] = "user.invited"
    public_version = 1
    withheld = frozenset({"email"})

    email: str
    role: str


@dataclass(frozen=True, kw_only=True)
class InvitationRevoked(_OfInvitation):
    type: ClassVar[str] = "invitation.revoked"


@dataclass(frozen=True, kw_only=True)
class InvitationAccepted(_OfInvitation):
    """The invited person is a member now."""

    type: ClassVar[str] = "invitation.accepted"
    public_version = 1

    user_id: UUID
    role: str
    invited_by: UUID


@dataclass(frozen=True, kw_only=True)
class TenantMoved(Event):
    """A tenant's database lies on another server."""

    type: ClassVar[str] = "tenant.moved"
    target: ClassVar[str] = "tenant_id"

    tenant_id: UUID
    from_server: str
    to_server: str
    generation: int


@dataclass(frozen=True, kw_only=True)
class SandboxOrdered(Event):
    """A copy of the tenant is made, as a tenant of its own, for a time."""

    type: ClassVar[str] = "tenant.sandbox_ordered"
    target: ClassVar[str] = "sandbox_id"

    sandbox_id: UUID
    tenant_id: UUID
