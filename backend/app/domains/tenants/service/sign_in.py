"""How a tenant's members sign in, and whom its directory brings with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.core.db import MainSession
from app.core.errors import NotFound
from app.domains.tenants import queries
from app.domains.tenants.errors import DomainUnverified
from app.domains.tenants.models import AuthMethod, Tenant, TenantState


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """``domains`` are those of the whitelist that the tenant has proven, at this moment."""

    tenant_id: UUID
    tenant: str
    open: bool
    auth_method: str
    whitelist: Sequence[str]
    domains: frozenset[str]
    auto_provisioning_enabled: bool
    default_role: str | None

    @property
    def takes_directory(self) -> bool:
        return self.open and self.auth_method != AuthMethod.LOCAL

    def owns(self, email: str | None) -> bool:
        """Whether the address is in a domain that the tenant has proven, and named for this."""
        return email is not None and email.rpartition("@")[2].lower() in self.domains


def get(session: MainSession, tenant_id: UUID) -> SignIn | None:
    """Of a tenant that the session may see."""
    tenant = queries.tenant(session, tenant_id)
    return None if tenant is None else _of(session, tenant)


def change(session: MainSession, *, tenant_id: UUID, **values: Any) -> SignIn:
    """Changes what is given: fields of `Tenant`.

    Raises:
        DomainUnverified: the tenant has not proven a domain of the whitelist.
    """
    tenant = queries.tenant_for_change(session, tenant_id)
    if tenant is None:
        raise NotFound("There is no such tenant.")
    if "sso_domain_whitelist" in values:
        _require_proven(session, tenant_id, values["sso_domain_whitelist"])
    for name, value in values.items():
        setattr(tenant, name, value)
    session.flush()
    return _of(session, tenant)


def _of(session: MainSession, tenant: Tenant) -> SignIn:
    proven = {row.domain for row in queries.domains(session, tenant.id) if row.verified_at}
    return SignIn(
        tenant_id=tenant.id,
        tenant=tenant.name,
        open=tenant.state == TenantState.ACTIVE,
        auth_method=tenant.auth_method,
        whitelist=tenant.sso_domain_whitelist,
        domains=frozenset(proven.intersection(tenant.sso_domain_whitelist)),
        auto_provisioning_enabled=tenant.auto_provisioning_enabled,
        default_role=tenant.default_role,
    )


def _require_proven(session: MainSession, tenant_id: UUID, domains: Sequence[str]) -> None:
    proven = {row.domain for row in queries.domains(session, tenant_id) if row.verified_at}
    if missing := sorted(set(domains) - proven):
        message = f"Prove {', '.join(missing)} first: POST /api/tenants/{tenant_id}/domains."
        raise DomainUnverified(message, errors={"sso_domain_whitelist": [message]})
