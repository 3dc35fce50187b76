"""A tenant's own quota, which the platform's administrators give it."""

from typing import Any, Final
from uuid import UUID

from flask import Blueprint

from app.core.http import endpoint
from app.domains.documents import schemas
from app.domains.documents.models import Quota
from app.domains.documents.service import own_quota
from app.tenancy.manager import current_manager

blueprint: Final = Blueprint("quota", __name__)

_QUOTA: Final = "/api/tenants/<tenant:tenant_id>/quota"


@blueprint.get(_QUOTA)
@endpoint(
    allow="quotas:manage",
    transaction=None,
    any_state=True,
    returns=schemas.Quota,
    errors=(401, 403, 404, 409, 503),
)
def get_quota(tenant_id: UUID) -> Quota:
    """A tenant's own limits and what counts against them."""
    return own_quota.get_quota(current_manager(), tenant_id=tenant_id)


@blueprint.put(_QUOTA)
@endpoint(
    allow="quotas:manage",
    transaction=None,
    any_state=True,
    body=schemas.ChangeQuota,
    returns=schemas.Quota,
    errors=(400, 401, 403, 404, 409, 413, 415, 422, 503),
)
def set_quota(tenant_id: UUID, body: dict[str, Any]) -> Quota:
    """Give a tenant limits of its own, or with null the installation's again."""
    return own_quota.set_quota(current_manager(), tenant_id=tenant_id, **body)
