"""What identity takes and gives over HTTP."""

from marshmallow import Schema, fields, validate

# Bounded so that nobody can make argon2 read a book.
_PASSWORD = validate.Length(min=1, max=256)


class LogIn(Schema):
    email = fields.Email(required=True, validate=validate.Length(max=254))
    password = fields.String(required=True, load_only=True, validate=_PASSWORD)


class Refresh(Schema):
    refresh_token = fields.String(required=True, validate=validate.Length(min=1, max=256))


class Tokens(Schema):
    """RFC 6749, section 5.1; ``expires_in`` in seconds."""

    access_token = fields.String(required=True)
    refresh_token = fields.String(required=True)
    token_type = fields.String(required=True)
    expires_in = fields.Integer(required=True)


class Me(Schema):
    id = fields.UUID(required=True)
    email = fields.Email(required=True)
    name = fields.String(required=True)
    created_at = fields.AwareDateTime(required=True)


class KeySet(Schema):
    """RFC 7517, section 5."""

    keys = fields.List(fields.Dict(keys=fields.String(), values=fields.String()), required=True)
