"""What webhooks take and give over HTTP."""

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from app.core.pages import PageQuery
from app.domains.webhooks.models import DeliveryState

_STATES = [*map(str, DeliveryState)]
_URL = validate.Length(min=1, max=2000)
_DESCRIPTION = validate.Length(max=200)
_TYPES = validate.Length(min=1, max=100)
_ONE_DAY = 86_400
_EXAMPLE = {"example": "https://hooks.example.com/tenantry"}


class NewWebhook(Schema):
    """``event_types`` of GET /api/event-types, or ``*`` for all, also those to come."""

    url = fields.String(required=True, validate=_URL, metadata=_EXAMPLE)
    description = fields.String(load_default="", validate=_DESCRIPTION)
    event_types = fields.List(
        fields.String(),
        required=True,
        validate=_TYPES,
        metadata={"example": ["document.uploaded.v1"]},
    )


class ChangeWebhook(Schema):
    """What is left out stays."""

    url = fields.String(validate=_URL, metadata=_EXAMPLE)
    description = fields.String(validate=_DESCRIPTION)
    event_types = fields.List(
        fields.String(), validate=_TYPES, metadata={"example": ["document.uploaded.v1"]}
    )
    enabled = fields.Boolean(truthy={True}, falsy={False})

    @validates_schema
    def _changes_something(self, data: dict[str, object], **_: object) -> None:
        if not data:
            raise ValidationError("Give at least one of the fields.")


class Webhook(Schema):
    """``disabled_reason`` is manual, failing (for days) or gone (it answered 410).

    ``failing_since`` is the first failure after the last success. Until ``former_secret_ends_at``
    two secrets sign.
    """

    id = fields.UUID(required=True)
    url = fields.String(required=True)
    description = fields.String(required=True)
    event_types = fields.List(fields.String(), required=True)
    enabled = fields.Boolean(required=True)
    disabled_reason = fields.String(required=True, allow_none=True)
    failing_since = fields.AwareDateTime(required=True, allow_none=True)
    former_secret_ends_at = fields.AwareDateTime(required=True, allow_none=True)
    created_at = fields.AwareDateTime(required=True)
    updated_at = fields.AwareDateTime(required=True)


class WebhookList(Schema):
    items = fields.List(fields.Nested(Webhook), required=True)


class WebhookWithSecret(Schema):
    """``secret`` verifies signatures. It is told this once: keep it."""

    endpoint = fields.Nested(Webhook, required=True)
    secret = fields.String(
        required=True, metadata={"example": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
    )


class RotateWebhookSecret(Schema):
    """``overlap_seconds`` is how long the former secret signs too: a week at most, 0 for not."""

    overlap_seconds = fields.Integer(
        load_default=_ONE_DAY, strict=True, validate=validate.Range(min=0, max=7 * _ONE_DAY)
    )


class WebhookDelivery(Schema):
    """An event on its way to an endpoint; ``message_id`` is its webhook-id, and the event's id."""

    id = fields.UUID(required=True)
    endpoint_id = fields.UUID(required=True)
    message_id = fields.UUID(required=True)
    event_type = fields.String(required=True)
    state = fields.String(required=True, validate=validate.OneOf(_STATES))
    replay = fields.Boolean(required=True)
    attempt_count = fields.Integer(required=True)
    next_attempt_at = fields.AwareDateTime(required=True, allow_none=True)
    finished_at = fields.AwareDateTime(required=True, allow_none=True)
    created_at = fields.AwareDateTime(required=True)


class WebhookDeliveryPage(Schema):
    items = fields.List(fields.Nested(WebhookDelivery), required=True)
    next_cursor = fields.String(allow_none=True, required=True)


class WebhookDeliveryQuery(PageQuery):
    state = fields.String(load_default=None, validate=validate.OneOf(_STATES))
    event_type = fields.String(load_default=None)


class WebhookAttempt(Schema):
    """One try. Without ``finished_at`` it runs, or its process died.

    ``error`` is null where it arrived; else refused (by its ``status``), timed_out, name_unknown,
    address_refused, connection_failed, tls_failed, bad_answer or not_signed. ``answer`` is its
    beginning.
    """

    number = fields.Integer(required=True)
    url = fields.String(required=True)
    started_at = fields.AwareDateTime(required=True)
    finished_at = fields.AwareDateTime(required=True, allow_none=True)
    milliseconds = fields.Integer(required=True, allow_none=True)
    status = fields.Integer(required=True, allow_none=True)
    error = fields.String(required=True, allow_none=True)
    detail = fields.String(required=True, allow_none=True)
    answer = fields.String(required=True, allow_none=True)


class WebhookDeliveryDetails(Schema):
    """``body`` is what was signed and sent, byte for byte."""

    delivery = fields.Nested(WebhookDelivery, required=True)
    body = fields.String(required=True)
    attempts = fields.List(fields.Nested(WebhookAttempt), required=True)


class ReplayWebhooks(Schema):
    """Deliveries made from ``since`` on, and before ``until``, else until now."""

    since = fields.AwareDateTime(required=True)
    until = fields.AwareDateTime(load_default=None)
    states = fields.List(
        fields.String(validate=validate.OneOf(["delivered", "failed", "skipped"])),
        load_default=lambda: ["failed", "skipped"],
        validate=validate.Length(min=1, max=3),
    )


class ReplayedWebhooks(Schema):
    replayed = fields.Integer(required=True)
