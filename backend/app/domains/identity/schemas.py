"""What identity takes and gives over HTTP."""

from typing import Final

from marshmallow import Schema, fields, validate

# Bounded so that nobody can make argon2 read a book.
_PASSWORD = validate.Length(min=1, max=256)
# NIST SP 800-63B, section 5.1.1.2: length counts, composition does not.
_NEW_PASSWORD = validate.Length(min=8, max=256)


class LogIn(Schema):
    email = fields.Email(required=True, validate=validate.Length(max=254))
    password = fields.String(required=True, load_only=True, validate=_PASSWORD)


class Refresh(Schema):
    refresh_token = fields.String(required=True, validate=validate.Length(min=1, max=256))


class Tokens(Schema):
    """RFC 6749, section 5.1; ``expires_in`` in seconds."""

    EXAMPLE: Final = {
        "access_token": "eyJhbGciOiJSUzI1NiIs…",
        "refresh_token": "Jw3cVq…",
        "token_type": "Bearer",
        "expires_in": 900,
    }

    access_token = fields.String(required=True)
    refresh_token = fields.String(required=True)
    token_type = fields.String(required=True)
    expires_in = fields.Integer(required=True)


class Session(Schema):
    """A browser or client that somebody is signed in with.

    ``method`` is how at first, ``tenant_id`` by which tenant's identity provider; null for a
    password. It opens the tenants that take ``by_password``, and those of ``sso_tenant_ids``.
    """

    EXAMPLE: Final = {"method": "password", "address": "192.0.2.1", "user_agent": "curl/8.5.0"}

    id = fields.UUID(required=True)
    method = fields.String(required=True)
    tenant_id = fields.UUID(required=True, allow_none=True)
    by_password = fields.Boolean(required=True)
    sso_tenant_ids = fields.List(fields.UUID(), required=True)
    address = fields.String(allow_none=True)
    user_agent = fields.String(allow_none=True)
    active = fields.Boolean(required=True)
    created_at = fields.AwareDateTime(required=True)
    updated_at = fields.AwareDateTime(required=True)
    last_used_at = fields.AwareDateTime(required=True)
    expires_at = fields.AwareDateTime(required=True)


class SessionList(Schema):
    """``current`` is the id of the one that asks."""

    items = fields.List(fields.Nested(Session), required=True)
    current = fields.UUID(required=True)


class EndedSessions(Schema):
    """How many sessions were ended."""

    ended = fields.Integer(required=True)


class ChangePassword(Schema):
    current_password = fields.String(required=True, load_only=True, validate=_PASSWORD)
    new_password = fields.String(required=True, load_only=True, validate=_NEW_PASSWORD)


class Address(Schema):
    email = fields.Email(required=True, validate=validate.Length(max=254))


class AddressToken(Schema):
    """``token`` is what a mail's link carries behind #token=."""

    token = fields.String(required=True, load_only=True, validate=validate.Length(min=1, max=256))


class ResetPassword(AddressToken):
    new_password = fields.String(required=True, load_only=True, validate=_NEW_PASSWORD)


class Accepted(Schema):
    """The same for everybody who asks."""

    EXAMPLE: Final = {"detail": "If there is an account with this address, a mail follows."}

    detail = fields.String(required=True)


class Rename(Schema):
    name = fields.String(required=True, validate=validate.Length(min=1, max=200))


class Me(Schema):
    EXAMPLE: Final = {"name": "Alice"}

    id = fields.UUID(required=True)
    email = fields.Email(required=True)
    email_verified = fields.Boolean(required=True)
    name = fields.String(required=True)
    active = fields.Boolean(required=True)
    created_at = fields.AwareDateTime(required=True)
    updated_at = fields.AwareDateTime(required=True)


class KeySet(Schema):
    """RFC 7517, section 5."""

    EXAMPLE: Final = {
        "keys": [{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "…", "n": "…", "e": "AQAB"}]
    }

    keys = fields.List(fields.Dict(keys=fields.String(), values=fields.String()), required=True)
