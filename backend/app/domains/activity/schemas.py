"""What the feed gives over HTTP."""

from marshmallow import Schema, fields

from app.core.pages import PageQuery


class ActivityQuery(PageQuery):
    """``type`` limits the feed to events of one type, such as document.uploaded.v1."""

    type = fields.String(load_default=None)


class Activity(Schema):
    """One event: what happened, to what, by whom, when."""

    id = fields.UUID(required=True)
    occurred_at = fields.AwareDateTime(required=True)
    type = fields.String(required=True)
    subject = fields.String(required=True)
    actor_id = fields.UUID(required=True, allow_none=True)
    data = fields.Dict(required=True)


class ActivityPage(Schema):
    items = fields.List(fields.Nested(Activity), required=True)
    next_cursor = fields.String(allow_none=True, required=True)
