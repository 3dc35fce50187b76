"""What the audit trail gives over HTTP."""

from typing import Final

from marshmallow import Schema, fields


class Entry(Schema):
    """One event: who, what, when, from where."""

    EXAMPLE: Final = {
        "type": "document.downloaded",
        "target": "01a1fce7-3c5e-7d6b-9d2e-4f8a1b2c3d4e",
        "user_id": "01a1fce7-0000-7000-8000-000000000000",
        "address": "192.0.2.1",
        "details": {"version": 1},
    }

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
