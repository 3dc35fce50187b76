"""A tenant's webhooks over HTTP."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from flask import Blueprint, current_app

from app.core.http import endpoint
from app.core.pages import Page, current_cursors
from app.domains.webhooks import schemas
from app.domains.webhooks.models import Delivery, Endpoint
from app.domains.webhooks.service import deliveries, endpoints
from app.domains.webhooks.service.endpoints import Told
from app.integrations.customer_http import current_customer_http
from app.settings import current_settings
from app.tenancy.sessions import TenantSession

blueprint: Final = Blueprint(
    "webhooks", __name__, url_prefix="/api/tenants/<tenant:tenant_id>/webhooks"
)
_MANAGE: Final = "webhooks:manage"
_ONE: Final = "/<uuid:endpoint_id>"
_DELIVERIES: Final = f"{_ONE}/deliveries"


@blueprint.get("")
@endpoint(
    allow=_MANAGE,
    transaction="tenant_reads",
    returns=schemas.WebhookList,
    errors=(401, 403, 404, 503),
)
def list_endpoints(session: TenantSession) -> dict[str, Sequence[Endpoint]]:
    """The tenant's webhook endpoints."""
    return {"items": endpoints.list_endpoints(session)}


@blueprint.post("")
@endpoint(
    allow=_MANAGE,
    transaction="tenant",
    body=schemas.NewWebhook,
    returns=schemas.WebhookWithSecret,
    status=201,
    errors=(401, 403, 404, 409, 422, 503),
)
def create_endpoint(session: TenantSession, body: dict[str, Any]) -> Told:
    """Have events sent to a URL; the answer tells the secret, this once."""
    secrets = current_app.extensions["secrets"]
    return endpoints.create_endpoint(session, current_customer_http(), secrets, **body)


@blueprint.get(_ONE)
@endpoint(
    allow=_MANAGE,
    transaction="tenant_reads",
    returns=schemas.Webhook,
    errors=(401, 403, 404, 503),
)
def get_endpoint(session: TenantSession, endpoint_id: UUID) -> Endpoint:
    """One endpoint, and whether it fails."""
    return endpoints.get_endpoint(session, endpoint_id=endpoint_id)


@blueprint.patch(_ONE)
@endpoint(
    allow=_MANAGE,
    transaction="tenant",
    body=schemas.ChangeWebhook,
    returns=schemas.Webhook,
    errors=(401, 403, 404, 422, 503),
)
def update_endpoint(session: TenantSession, endpoint_id: UUID, body: dict[str, Any]) -> Endpoint:
    """Change where, what or whether anything is sent."""
    client = current_customer_http()
    return endpoints.update_endpoint(session, client, endpoint_id=endpoint_id, **body)


@blueprint.delete(_ONE)
@endpoint(allow=_MANAGE, transaction="tenant", status=204, errors=(401, 403, 404, 503))
def delete_endpoint(session: TenantSession, endpoint_id: UUID) -> None:
    """Delete the endpoint, its deliveries, and what is on its way to it."""
    endpoints.delete_endpoint(session, endpoint_id=endpoint_id)


@blueprint.post(f"{_ONE}/secret")
@endpoint(
    allow=_MANAGE,
    transaction="tenant",
    body=schemas.RotateWebhookSecret,
    body_required=False,
    returns=schemas.WebhookWithSecret,
    status=201,
    errors=(401, 403, 404, 422, 503),
)
def rotate_secret(session: TenantSession, endpoint_id: UUID, body: dict[str, int]) -> Told:
    """A new secret; the former one signs as well for a while."""
    secrets = current_app.extensions["secrets"]
    return endpoints.rotate_secret(session, secrets, endpoint_id=endpoint_id, **body)


@blueprint.post(f"{_ONE}/test")
@endpoint(
    allow=_MANAGE,
    transaction="tenant",
    returns=schemas.WebhookDelivery,
    status=202,
    errors=(401, 403, 404, 409, 503),
)
def test_endpoint(session: TenantSession, endpoint_id: UUID) -> Delivery:
    """Send an event webhook.test at once; its delivery tells what came of it."""
    return deliveries.test_endpoint(session, endpoint_id=endpoint_id, kept_days=_kept_days())


@blueprint.get(_DELIVERIES)
@endpoint(
    allow=_MANAGE,
    transaction="tenant",
    query=schemas.WebhookDeliveryQuery,
    returns=schemas.WebhookDeliveryPage,
    errors=(401, 403, 404, 422, 503),
)
def list_deliveries(
    session: TenantSession, endpoint_id: UUID, query: dict[str, Any]
) -> Page[Delivery]:
    """What was sent to the endpoint, newest first."""
    return deliveries.list_deliveries(
        session, endpoint_id=endpoint_id, cursors=current_cursors(), **query
    )


@blueprint.get(f"{_DELIVERIES}/<uuid:delivery_id>")
@endpoint(
    allow=_MANAGE,
    transaction="tenant",
    returns=schemas.WebhookDeliveryDetails,
    errors=(401, 403, 404, 503),
)
def get_delivery(session: TenantSession, endpoint_id: UUID, delivery_id: UUID) -> dict[str, object]:
    """What was sent, and every attempt at it."""
    delivery = deliveries.get_delivery(session, endpoint_id=endpoint_id, delivery_id=delivery_id)
    return {
        "delivery": delivery,
        "body": delivery.message.body,
        "attempts": deliveries.attempts_of(session, delivery),
    }


@blueprint.post(f"{_DELIVERIES}/<uuid:delivery_id>/replay")
@endpoint(
    allow=_MANAGE,
    transaction="tenant",
    returns=schemas.WebhookDelivery,
    status=202,
    errors=(401, 403, 404, 409, 503),
)
def replay_delivery(session: TenantSession, endpoint_id: UUID, delivery_id: UUID) -> Delivery:
    """Send the same event again, under the same webhook-id."""
    return deliveries.replay(
        session, endpoint_id=endpoint_id, delivery_id=delivery_id, kept_days=_kept_days()
    )


@blueprint.post(f"{_ONE}/replay")
@endpoint(
    allow=_MANAGE,
    transaction="tenant",
    body=schemas.ReplayWebhooks,
    returns=schemas.ReplayedWebhooks,
    status=202,
    errors=(401, 403, 404, 409, 422, 503),
)
def replay_range(session: TenantSession, endpoint_id: UUID, body: dict[str, Any]) -> dict[str, int]:
    """Send again what failed or was skipped in a time, a thousand events at most."""
    replayed = deliveries.replay_range(
        session, endpoint_id=endpoint_id, kept_days=_kept_days(), **body
    )
    return {"replayed": replayed}


def _kept_days() -> int:
    return current_settings().webhook_retention_days
