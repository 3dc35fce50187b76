"""What the feed gives over HTTP."""

from typing import Final

from marshmallow import Schema, fields

from app.core.pages import PageQuery


class ActivityQuery(PageQuery):
    """``type`` limits the feed to events of one type, such as document.uploaded.v1."""

    type = fields.String(load_default=None)


class Activity(Schema):
    """One event: what happened, to what, by whom, when."""

    EXAMPLE: Final = {
        "type": "document.uploaded.v1",
        "subject": "01a1fce7-3c5e-7d6b-9d2e-4f8a1b2c3d4e",
        "actor_id": "01a1fce7-0000-7000-8000-000000000000",
        "data": {"document_id": "01a1fce7-3c5e-7d6b-9d2e-4f8a1b2c3d4e", "size": 5},
    }

    id = fields.UUID(required=True)
    occurred_at = fields.AwareDateTime(required=True)
    type = fields.String(required=True)
    subject = fields.String(required=True)
    actor_id = fields.UUID(required=True, allow_none=True)
    data = fields.Dict(required=True)


class ActivityPage(Schema):
    items = fields.List(fields.Nested(Activity), required=True)
    next_cursor = fields.String(allow_none=True, required=True)
