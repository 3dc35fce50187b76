"""Changing what the main database says of a tenant and its members."""

from typing import Any
from uuid import UUID

from sqlalchemy import delete, update

from app.core.db import platform_session
from app.domains.tenants.models import Tenant, TenantDatabase, UserTenantAssociation


def change_tenant(tenant_id: UUID, **values: Any) -> None:
    with platform_session() as session:
        session.execute(update(Tenant).where(Tenant.id == tenant_id).values(**values))


def change_database(tenant_id: UUID, **values: Any) -> None:
    with platform_session() as session:
        session.execute(
            update(TenantDatabase).where(TenantDatabase.tenant_id == tenant_id).values(**values)
        )


def change_role(tenant_id: UUID, user_id: UUID, role: str) -> None:
    with platform_session() as session:
        session.execute(
            update(UserTenantAssociation)
            .where(
                UserTenantAssociation.tenant_id == tenant_id,
                UserTenantAssociation.user_id == user_id,
            )
            .values(role=role)
        )


def remove_member(tenant_id: UUID, user_id: UUID) -> None:
    with platform_session() as session:
        session.execute(
            delete(UserTenantAssociation).where(
                UserTenantAssociation.tenant_id == tenant_id,
                UserTenantAssociation.user_id == user_id,
            )
        )
