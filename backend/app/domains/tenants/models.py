"""Tables of the main database about tenants."""

from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    Text,
    UniqueConstraint,
    case,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, column_property, mapped_column

from app.core.db import MainModel
from app.core.sealed_columns import SealedColumn
from app.core.stamps import Identified, Stamped, active_while
from app.tenancy.servers import sealed_for

CHALLENGE_LABEL: Final = "_tenantry-challenge"


class TenantState(StrEnum):
    REQUESTED = "requested"
    CREATING = "creating"
    ACTIVE = "active"
    FAILED = "failed"
    SUSPENDED = "suspended"
    DELETED = "deleted"  # in its period of grace: everything is there, nobody gets in
    PURGING = "purging"
    PURGED = "purged"  # nothing is left but this row


class Role(StrEnum):
    OWNER = "owner"
    ADMIN = "admin"
    USER = "user"
    VIEWER = "viewer"


class AuthMethod(StrEnum):
    """What a session has to be authenticated by to open the tenant; owners' passwords always do."""

    LOCAL = "local"
    SSO = "sso"
    BOTH = "both"


class Tenant(Identified, MainModel):
    """A customer. ``failure`` says why the last provisioning failed.

    ``suspended_at`` outlives a deletion, so that one who was suspended is restored as suspended;
    ``read_only_since`` outlives both.
    """

    __tablename__ = "tenants"
    __table_args__ = (
        Index("uq_tenants_slug", "slug", unique=True, postgresql_where=text("state <> 'purged'")),
    )

    slug: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text, default=TenantState.REQUESTED)
    failure: Mapped[str | None] = mapped_column(Text)
    suspended_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    suspension_reason: Mapped[str | None] = mapped_column(Text)
    read_only_since: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    read_only_reason: Mapped[str | None] = mapped_column(Text)
    last_backup_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    last_proven_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    purge_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    # How its members sign in: `domains/sso`.
    auth_method: Mapped[str] = mapped_column(Text, default=AuthMethod.LOCAL)
    sso_domain_whitelist: Mapped[list[str]] = mapped_column(ARRAY(Text), default=list)
    auto_provisioning_enabled: Mapped[bool] = mapped_column(default=False)
    default_role: Mapped[str | None] = mapped_column(Text)
    active: Mapped[bool] = active_while("state = 'active'")


class UserTenantAssociation(Stamped, MainModel):
    """A person's membership of a tenant, with one role; one that is not active opens nothing."""

    __tablename__ = "user_tenant_associations"

    user_id: Mapped[UUID] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    tenant_id: Mapped[UUID] = mapped_column(
        ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    role: Mapped[str] = mapped_column(Text)
    active: Mapped[bool] = mapped_column(default=True)


class Registration(Identified, MainModel):
    """A tenant and an owner who are not there yet; its id is going to be the tenant's.

    It is active until it is confirmed. ``token_hash`` is that of the mail's token.
    """

    __tablename__ = "registrations"

    email: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    tenant_name: Mapped[str] = mapped_column(Text)
    slug: Mapped[str] = mapped_column(Text)
    token_hash: Mapped[bytes | None] = mapped_column(LargeBinary, unique=True)
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    confirmed_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    active: Mapped[bool] = active_while("confirmed_at IS NULL")


class Invitation(Identified, MainModel):
    """Somebody, known by an address only, is asked to join a tenant.

    It is open while ``active``; a pair of tenant and address has one of these. ``invited_by``
    answers for it; ``sent_at`` is when its last mail went out, whose token is the one that counts.
    """

    __tablename__ = "invitations"
    __table_args__ = (
        Index("ix_invitations_tenant_id", "tenant_id", "id"),
        Index(
            "uq_invitations_open",
            "tenant_id",
            "email",
            unique=True,
            postgresql_where=text("accepted_at IS NULL AND revoked_at IS NULL"),
        ),
    )

    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    email: Mapped[str] = mapped_column(Text)
    role: Mapped[str] = mapped_column(Text)
    invited_by: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    token_hash: Mapped[bytes | None] = mapped_column(LargeBinary, unique=True)
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    sent_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    accepted_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    revoked_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    active: Mapped[bool] = active_while("accepted_at IS NULL AND revoked_at IS NULL")
    state: Mapped[str] = column_property(
        case(
            (accepted_at.is_not(None), "accepted"),
            (revoked_at.is_not(None), "revoked"),
            (expires_at <= func.now(), "expired"),
            else_="pending",
        )
    )


class TenantDatabase(Stamped, MainModel):
    """The ledger: where a tenant's data lies, and at which schema revision.

    Written before the database is made, removed after its drop is confirmed. While ``held_until``
    lies ahead, work on the database as a whole keeps it read-only.
    """

    __tablename__ = "tenant_databases"

    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    server: Mapped[str] = mapped_column(Text, index=True)
    database: Mapped[str] = mapped_column(Text, unique=True)
    sealed_credentials: Mapped[str] = mapped_column(Text)
    schema_revision: Mapped[str | None] = mapped_column(Text)
    active: Mapped[bool] = active_while("schema_revision IS NOT NULL")
    # Words of the operator's, to choose tenants by: the canaries of a migration.
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text), default=list)
    held_until: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    # How often it was moved to another server.
    generation: Mapped[int] = mapped_column(default=0)
    # The database out of the pool that this one is going to be, until the tenant is active.
    spare_id: Mapped[UUID | None]


class SpareDatabase(Identified, MainModel):
    """A database of the warm pool; ready for a tenant while it has a revision.

    Written before the database is made, removed when a tenant claims it or after its drop.
    ``digest`` is that of the migrations that its template was made by.
    """

    __tablename__ = "spare_databases"

    server: Mapped[str] = mapped_column(Text)
    sealed_credentials: Mapped[str] = mapped_column(Text)
    revision: Mapped[str | None] = mapped_column(Text)
    digest: Mapped[str | None] = mapped_column(Text)
    active: Mapped[bool] = active_while("revision IS NOT NULL")


class KeptDatabase(Identified, MainModel):
    """A database beside a tenant's own, ``restored`` or ``former``; dropped at ``expires_at``.

    It can be swapped in while it has a revision.
    """

    __tablename__ = "kept_databases"

    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("tenants.id"), index=True)
    server: Mapped[str] = mapped_column(Text)
    database: Mapped[str] = mapped_column(Text, unique=True)
    sealed_credentials: Mapped[str] = mapped_column(Text)
    schema_revision: Mapped[str | None] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)
    backup_id: Mapped[UUID | None]
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    active: Mapped[bool] = active_while("schema_revision IS NOT NULL")


class TenantDomain(Identified, MainModel):
    """A domain that a tenant claims, and has proven once its DNS showed the ``challenge``."""

    __tablename__ = "tenant_domains"
    __table_args__ = (
        UniqueConstraint("tenant_id", "domain"),
        Index(
            "uq_tenant_domains_verified",
            "domain",
            unique=True,
            postgresql_where=text("verified_at IS NOT NULL"),
        ),
    )

    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("tenants.id"))
    domain: Mapped[str] = mapped_column(Text)
    challenge: Mapped[str] = mapped_column(Text)
    verified_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    active: Mapped[bool] = active_while("verified_at IS NOT NULL")

    @property
    def challenge_name(self) -> str:
        """Where the DNS has to show the challenge."""
        return f"{CHALLENGE_LABEL}.{self.domain}"


class SchemaRelease(MainModel):
    """A revision that tenants are being brought to, told to code that does not know it.

    ``oldest_code`` is the head that code must know, at least, to serve a database at it.
    """

    __tablename__ = "schema_releases"

    revision: Mapped[str] = mapped_column(Text, primary_key=True)
    oldest_code: Mapped[str] = mapped_column(Text)


class ServerState(StrEnum):
    ACTIVE = "active"
    DRAINING = "draining"  # gets no new tenants


class TenantServer(Identified, MainModel):
    """A PostgreSQL server of tenants' databases: the default one, or one more.

    The default one's URL is a setting; without a row it takes as many tenants as there are.
    ``capacity`` is in tenants. ``sealed_url`` is the provisioner's, ``address`` what people see.
    """

    __tablename__ = "tenant_servers"

    name: Mapped[str] = mapped_column(Text, unique=True)
    address: Mapped[str] = mapped_column(Text)
    sealed_url: Mapped[str | None] = mapped_column(Text)
    region: Mapped[str | None] = mapped_column(Text)
    capacity: Mapped[int | None]
    state: Mapped[str] = mapped_column(Text, default=ServerState.ACTIVE)
    active: Mapped[bool] = active_while("state = 'active'")


class MoveStep(StrEnum):
    COPYING = "copying"  # the tenant is served where it was
    SWITCHED = "switched"  # it is served where it goes; what it left is still there
    DONE = "done"
    FAILED = "failed"  # it is served where it was, and what was copied is dropped


class TenantMove(Identified, MainModel):
    """A tenant's way from one server to another; what was ``verified`` are rows by table."""

    __tablename__ = "tenant_moves"
    __table_args__ = (
        Index(
            "uq_tenant_moves_active",
            "tenant_id",
            unique=True,
            postgresql_where=text("step IN ('copying', 'switched')"),
        ),
    )

    # No key to tenants: the record outlives its tenant.
    tenant_id: Mapped[UUID]
    source: Mapped[str] = mapped_column(Text)
    target: Mapped[str] = mapped_column(Text)
    step: Mapped[str] = mapped_column(Text, default=MoveStep.COPYING)
    verified: Mapped[dict[str, int] | None] = mapped_column(JSONB)
    read_only_seconds: Mapped[float | None]
    held_until: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    failure: Mapped[str | None] = mapped_column(Text)
    finished_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    active: Mapped[bool] = active_while("step IN ('copying', 'switched')")


class SandboxState(StrEnum):
    PENDING = "pending"
    READY = "ready"
    FAILED = "failed"


class Sandbox(Stamped, MainModel):
    """A tenant that is a copy of another to try things on; it is purged at ``expires_at``."""

    __tablename__ = "sandboxes"
    __table_args__ = (
        CheckConstraint("state IN ('pending', 'ready', 'failed')", name="state"),
        Index("ix_sandboxes_source_id", "source_id", "tenant_id"),
    )

    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    source_id: Mapped[UUID] = mapped_column(ForeignKey("tenants.id"))
    state: Mapped[str] = mapped_column(Text, default=SandboxState.PENDING)
    active: Mapped[bool] = active_while("state = 'ready'")
    failure: Mapped[str | None] = mapped_column(Text)
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


SEALED = (
    SealedColumn(TenantDatabase.sealed_credentials, lambda row: str(row.tenant_id)),
    SealedColumn(KeptDatabase.sealed_credentials, lambda row: str(row.tenant_id)),
    SealedColumn(SpareDatabase.sealed_credentials, lambda row: str(row.id)),
    SealedColumn(TenantServer.sealed_url, lambda row: sealed_for(row.name)),
)
