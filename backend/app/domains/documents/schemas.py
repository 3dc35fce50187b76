"""What documents take and give over HTTP."""

from marshmallow import Schema, fields, validate


class Document(Schema):
    """``size`` in bytes; ``digest`` is ``sha256:`` and 64 hexadecimal digits."""

    id = fields.UUID(required=True)
    name = fields.String(required=True)
    content_type = fields.String(required=True)
    size = fields.Integer(required=True)
    digest = fields.String(required=True)
    owner_id = fields.UUID(required=True)
    created_at = fields.AwareDateTime(required=True)
    updated_at = fields.AwareDateTime(required=True)


class DocumentPage(Schema):
    items = fields.List(fields.Nested(Document), required=True)
    next_cursor = fields.String(allow_none=True, required=True)


class LinkQuery(Schema):
    """``expires_in`` in seconds, a day at most."""

    expires_in = fields.Integer(load_default=3600, validate=validate.Range(min=1, max=86_400))


class SignedLink(Schema):
    url = fields.Url(required=True)
    expires_at = fields.AwareDateTime(required=True)
