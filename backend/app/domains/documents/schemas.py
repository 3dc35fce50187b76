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


class NewUpload(Schema):
    """``size`` in bytes. With ``parts`` they come in about so many, of 5 MiB or more each."""

    name = fields.String(required=True)
    content_type = fields.String(load_default="application/octet-stream")
    size = fields.Integer(required=True, strict=True, validate=validate.Range(min=0, max=2**53))
    digest = fields.String(load_default=None, validate=validate.Regexp(r"\Asha256:[0-9a-f]{64}\Z"))
    parts = fields.Integer(
        load_default=None, strict=True, validate=validate.Range(min=1, max=10_000)
    )


class PartNumbers(Schema):
    numbers = fields.List(
        fields.Integer(strict=True, validate=validate.Range(min=1, max=10_000)),
        required=True,
        validate=validate.Length(min=1, max=1000),
    )


class PartAddress(Schema):
    """PUT exactly ``size`` bytes to ``url``, which is good for an hour at most."""

    number = fields.Integer(required=True)
    size = fields.Integer(required=True)
    url = fields.Url(required=True)


class PartAddresses(Schema):
    addresses = fields.List(fields.Nested(PartAddress), required=True)


class Upload(Schema):
    """``received`` are the numbers of the parts that arrived; an upload in one piece is part 1.

    ``addresses`` are for parts that are missing, a hundred at most. ``failure`` is the code of what
    last went wrong. ``document`` is there once ``state`` is completed, until it is deleted.
    """

    OF_THE_ROW = (
        *("id", "state", "failure", "name", "content_type", "size", "digest"),
        *("part_size", "part_count", "expires_at", "created_at", "updated_at"),
    )

    id = fields.UUID(required=True)
    state = fields.String(
        required=True, validate=validate.OneOf(["open", "verifying", "completed", "failed"])
    )
    failure = fields.String(required=True, allow_none=True)
    name = fields.String(required=True)
    content_type = fields.String(required=True)
    size = fields.Integer(required=True)
    digest = fields.String(required=True, allow_none=True)
    part_size = fields.Integer(required=True, allow_none=True)
    part_count = fields.Integer(required=True)
    expires_at = fields.AwareDateTime(required=True)
    active = fields.Boolean(required=True)
    created_at = fields.AwareDateTime(required=True)
    updated_at = fields.AwareDateTime(required=True)
    received = fields.List(fields.Integer(), required=True)
    addresses = fields.List(fields.Nested(PartAddress), required=True)
    document = fields.Nested(Document, required=True, allow_none=True)
