"""A tenant's own domains over HTTP."""

from collections.abc import Sequence
from functools import partial
from typing import Final, cast
from uuid import UUID

from flask import Blueprint

from app.core.db import MainSession
from app.core.http import OpenPlane, endpoint
from app.domains.tenants import schemas
from app.domains.tenants.models import TenantDomain
from app.domains.tenants.service import domains
from app.integrations.dns import current_dns
from app.settings import current_settings

blueprint: Final = Blueprint(
    "domains", __name__, url_prefix="/api/tenants/<tenant:tenant_id>/domains"
)


@blueprint.get("")
@endpoint(
    allow="domains:manage",
    transaction="main",
    returns=schemas.DomainList,
    errors=(401, 403, 404, 410, 503),
)
def list_domains(session: MainSession, tenant_id: UUID) -> dict[str, Sequence[TenantDomain]]:
    """The domains that the tenant claims, proven or not."""
    return {"items": domains.list_domains(session, tenant_id=tenant_id)}


@blueprint.post("")
@endpoint(
    allow="domains:manage",
    transaction="main",
    body=schemas.ClaimDomain,
    returns=schemas.Domain,
    status=201,
    errors=(401, 403, 404, 409, 410, 422, 503),
)
def claim_domain(session: MainSession, tenant_id: UUID, body: dict[str, str]) -> TenantDomain:
    """Claim a domain, and learn how to prove it."""
    return domains.claim(session, current_settings(), tenant_id=tenant_id, name=body["domain"])


@blueprint.post("/<uuid:domain_id>/verify")
@endpoint(
    allow="domains:manage",
    transaction=None,
    returns=schemas.Domain,
    errors=(401, 403, 404, 409, 410, 503),
)
def verify_domain(tenant_id: UUID, domain_id: UUID, open_session: OpenPlane) -> TenantDomain:
    """Look for the challenge in the domain's DNS; from then on the domain names the tenant."""
    return domains.verify(
        cast("domains.OpenSession", partial(open_session, "main")),
        current_dns(),
        tenant_id=tenant_id,
        domain_id=domain_id,
    )


@blueprint.delete("/<uuid:domain_id>")
@endpoint(allow="domains:manage", transaction="main", status=204, errors=(401, 403, 404, 410, 503))
def remove_domain(session: MainSession, tenant_id: UUID, domain_id: UUID) -> None:
    """Give a domain up."""
    domains.remove(session, tenant_id=tenant_id, domain_id=domain_id)
