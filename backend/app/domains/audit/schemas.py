"""What the audit trail gives over HTTP."""

from marshmallow import Schema, fields


class Entry(Schema):
    """One event: who, what, when, from where."""

    id = fields.UUID(required=True)
    recorded_at = fields.AwareDateTime(required=True)
    type = fields.String(required=True)
    target = fields.String(required=True)
    user_id = fields.UUID(required=True, allow_none=True)
    session_id = fields.UUID(required=True, allow_none=True)
    address = fields.String(required=True, allow_none=True)
    request_id = fields.String(required=True, allow_none=True)
    task = fields.String(required=True, allow_none=True)
    details = fields.Dict(required=True)


class EntryPage(Schema):
    items = fields.List(fields.Nested(Entry), required=True)
    next_cursor = fields.String(allow_none=True, required=True)
