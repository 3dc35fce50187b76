"""What is told of event types and of dead letters, over HTTP."""

from typing import Final

from marshmallow import Schema, fields, validate

from app.core.fields import Id
from app.core.pages import PageQuery
from app.domains.outbox.models import LetterState


class EventType(Schema):
    """A type of event; ``schema`` is the JSON Schema of its data."""

    EXAMPLE: Final = {
        "type": "document.uploaded.v1",
        "topic": "documents",
        "description": "A document was uploaded.",
        "schema": {"type": "object"},
    }

    type = fields.String(required=True)
    topic = fields.String(required=True)
    description = fields.String(required=True)
    schema = fields.Dict(required=True)


class EventTypes(Schema):
    items = fields.List(fields.Nested(EventType), required=True)


class LetterQuery(PageQuery):
    state = fields.String(
        load_default=LetterState.DEAD, validate=validate.OneOf([*map(str, LetterState)])
    )
    tenant_id = Id(load_default=None)
    consumer = fields.String(load_default=None)


class Letter(Schema):
    """An event that was not delivered; of its content only the type and the coordinates."""

    EXAMPLE: Final = {
        "state": "dead",
        "consumer": "activity.feed",
        "key": "…",
        "topic": "documents",
    }

    id = fields.UUID(required=True)
    state = fields.String(required=True)
    consumer = fields.String(required=True, allow_none=True)
    key = fields.String(required=True)
    event_id = fields.UUID(required=True, allow_none=True)
    type = fields.String(required=True, allow_none=True)
    tenant_id = fields.UUID(required=True, allow_none=True)
    topic = fields.String(required=True)
    partition = fields.Integer(required=True, allow_none=True)
    offset = fields.Integer(required=True, allow_none=True)
    attempts = fields.Integer(required=True)
    last_error = fields.String(required=True, allow_none=True)
    due_at = fields.AwareDateTime(required=True)
    created_at = fields.AwareDateTime(required=True)
    updated_at = fields.AwareDateTime(required=True)


class LetterPage(Schema):
    items = fields.List(fields.Nested(Letter), required=True)
    next_cursor = fields.String(allow_none=True, required=True)


class Range(Schema):
    """Which dead letters: what is left out does not limit."""

    tenant_id = Id(load_default=None)
    consumer = fields.String(load_default=None)
    since = fields.AwareDateTime(load_default=None)
    until = fields.AwareDateTime(load_default=None)


class Replayed(Schema):
    replayed = fields.Integer(required=True)
