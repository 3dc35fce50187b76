"""What tenants take and give over HTTP."""

from marshmallow import Schema, fields, validate


class NewTenant(Schema):
    name = fields.String(required=True, validate=validate.Length(min=1, max=200))
    slug = fields.String(
        required=True,
        validate=validate.Regexp(
            r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z",
            error="Use 1 to 63 of a-z, 0-9 and -, not at the ends (a DNS label, RFC 1035).",
        ),
    )


class Tenant(Schema):
    """``role`` is that of the person who asks, null for no member; ``failure`` why it failed."""

    id = fields.UUID(required=True)
    slug = fields.String(required=True)
    name = fields.String(required=True)
    state = fields.String(required=True)
    role = fields.String(required=True, allow_none=True)
    failure = fields.String(allow_none=True)
    created_at = fields.AwareDateTime(required=True)


class Member(Schema):
    """A person's membership of the tenant."""

    user_id = fields.UUID(required=True)
    email = fields.Email(required=True)
    name = fields.String(required=True)
    role = fields.String(required=True)
    created_at = fields.AwareDateTime(required=True)


class MemberPage(Schema):
    items = fields.List(fields.Nested(Member), required=True)
    next_cursor = fields.String(allow_none=True, required=True)


class ChangeRole(Schema):
    role = fields.String(
        required=True, validate=validate.OneOf(["owner", "admin", "user", "viewer"])
    )


class RenameTenant(Schema):
    name = fields.String(required=True, validate=validate.Length(min=1, max=200))


class TenantPage(Schema):
    items = fields.List(fields.Nested(Tenant), required=True)
    next_cursor = fields.String(allow_none=True, required=True)
