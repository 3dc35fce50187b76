"""Tables of the main database about tenants."""

from enum import StrEnum
from uuid import UUID

from sqlalchemy import ForeignKey, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import MainModel
from app.core.stamps import Identified, Stamped


class TenantState(StrEnum):
    REQUESTED = "requested"
    CREATING = "creating"
    ACTIVE = "active"
    FAILED = "failed"
    SUSPENDED = "suspended"
    DELETING = "deleting"
    DELETED = "deleted"


class Role(StrEnum):
    OWNER = "owner"
    ADMIN = "admin"
    USER = "user"
    VIEWER = "viewer"


class Tenant(Identified, MainModel):
    """A customer. ``failure`` says why the last provisioning failed."""

    __tablename__ = "tenants"
    __table_args__ = (
        Index("uq_tenants_slug", "slug", unique=True, postgresql_where=text("state <> 'deleted'")),
    )

    slug: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text, default=TenantState.REQUESTED)
    failure: Mapped[str | None] = mapped_column(Text)


class UserTenantAssociation(Stamped, MainModel):
    """A person's membership of a tenant, with one role."""

    __tablename__ = "user_tenant_associations"

    user_id: Mapped[UUID] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    tenant_id: Mapped[UUID] = mapped_column(
        ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    role: Mapped[str] = mapped_column(Text)


class TenantDatabase(Stamped, MainModel):
    """The ledger: where a tenant's data lies, and at which schema revision.

    Written before the database is made, removed after its drop is confirmed.
    """

    __tablename__ = "tenant_databases"

    tenant_id: Mapped[UUID] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    server: Mapped[str] = mapped_column(Text)
    database: Mapped[str] = mapped_column(Text, unique=True)
    sealed_credentials: Mapped[str] = mapped_column(Text)
    schema_revision: Mapped[str | None] = mapped_column(Text)
