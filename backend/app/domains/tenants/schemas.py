"""What tenants take and give over HTTP."""

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from app.core.pages import PageQuery
from app.domains.tenants.models import Role, TenantState


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
    """``role`` is that of the person who asks, null for no member; ``failure`` why it failed.

    Owners and the platform see the ``suspension_reason``; until ``purge_at`` a deleted tenant can
    be restored.
    """

    id = fields.UUID(required=True)
    slug = fields.String(required=True)
    name = fields.String(required=True)
    state = fields.String(required=True)
    active = fields.Boolean(required=True)
    role = fields.String(required=True, allow_none=True)
    failure = fields.String(allow_none=True)
    suspension_reason = fields.String(allow_none=True)
    purge_at = fields.AwareDateTime(allow_none=True)
    created_at = fields.AwareDateTime(required=True)
    updated_at = fields.AwareDateTime(required=True)


class DeleteTenant(Schema):
    """``confirm`` repeats the tenant's slug."""

    confirm = fields.String(required=True)


class SuspendTenant(Schema):
    """The reason is shown to the tenant's owners."""

    reason = fields.String(load_default=None, validate=validate.Length(min=1, max=1000))


class TenantQuery(PageQuery):
    state = fields.String(load_default=None, validate=validate.OneOf(list(TenantState)))


class Member(Schema):
    """A person's membership of the tenant; while it is not active, it opens nothing."""

    user_id = fields.UUID(required=True)
    email = fields.Email(required=True)
    name = fields.String(required=True)
    role = fields.String(required=True)
    active = fields.Boolean(required=True)
    created_at = fields.AwareDateTime(required=True)
    updated_at = fields.AwareDateTime(required=True)


class MemberPage(Schema):
    items = fields.List(fields.Nested(Member), required=True)
    next_cursor = fields.String(allow_none=True, required=True)


class ChangeMember(Schema):
    """At least one of the two."""

    role = fields.String(validate=validate.OneOf(list(Role)))
    active = fields.Boolean(truthy={True}, falsy={False})

    @validates_schema
    def _changes_something(self, loaded: dict[str, object], **_: object) -> None:
        if not loaded:
            raise ValidationError("Give a role, or active, or both.")


class RenameTenant(Schema):
    name = fields.String(required=True, validate=validate.Length(min=1, max=200))


class TenantPage(Schema):
    items = fields.List(fields.Nested(Tenant), required=True)
    next_cursor = fields.String(allow_none=True, required=True)


class ClaimDomain(Schema):
    domain = fields.String(required=True, validate=validate.Length(min=1, max=253))


class Domain(Schema):
    """Proven (``active``) once a TXT record at ``challenge_name`` shows the ``challenge``."""

    id = fields.UUID(required=True)
    domain = fields.String(required=True)
    challenge_name = fields.String(required=True)
    challenge = fields.String(required=True)
    active = fields.Boolean(required=True)
    verified_at = fields.AwareDateTime(required=True, allow_none=True)
    created_at = fields.AwareDateTime(required=True)
    updated_at = fields.AwareDateTime(required=True)


class DomainList(Schema):
    items = fields.List(fields.Nested(Domain), required=True)
