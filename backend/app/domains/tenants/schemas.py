"""What tenants take and give over HTTP."""

from collections.abc import Callable
from typing import Final

from flask import current_app
from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from app.core.pages import PageQuery
from app.domains.tenants.models import Role, SandboxState, TenantState

_ROLE = validate.OneOf([role.value for role in Role])
_NAME = validate.Length(min=1, max=200)
_EMAIL = validate.Length(max=254)
# NIST SP 800-63B, section 5.1.1.2: length counts, composition does not.
_NEW_PASSWORD = validate.Length(min=8, max=256)
_TOKEN = validate.Length(min=1, max=256)


def _not_reserved(slug: str) -> None:
    """A tenant must not answer where people expect the product (``www``) or another's letters.

    ``xn--`` begins labels that browsers show in other letters (RFC 5890, section 2.3.2.1).
    """
    if slug in current_app.config["RESERVED_SLUGS"] or slug.startswith("xn--"):
        raise ValidationError("This one is reserved; choose another.")


_SLUG: list[Callable[[str], object]] = [
    validate.Regexp(
        r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z",
        error="Use 1 to 63 of a-z, 0-9 and -, not at the ends (a DNS label, RFC 1035).",
    ),
    _not_reserved,
]


class NewTenant(Schema):
    name = fields.String(required=True, validate=_NAME, metadata={"example": "Initech"})
    slug = fields.String(required=True, validate=_SLUG, metadata={"example": "initech"})


class CreateTenant(NewTenant):
    """``region`` is one that the operator's servers are in; null for any."""

    region = fields.String(
        load_default=None, allow_none=True, validate=validate.Length(min=1, max=63)
    )


class Tenant(Schema):
    """``role`` is that of the person who asks, null for no member; ``failure`` why it failed.

    Owners and the platform see why it is suspended or ``read_only``; until ``purge_at`` a deleted
    tenant can be restored. ``last_proven_at`` is when a backup was last restored for a test.
    """

    EXAMPLE: Final = {
        "slug": "acme",
        "name": "Acme",
        "state": "active",
        "role": "owner",
        "read_only": False,
        "last_backup_at": "2026-11-21T03:00:00+00:00",
    }

    id = fields.UUID(required=True)
    slug = fields.String(required=True)
    name = fields.String(required=True)
    state = fields.String(required=True)
    active = fields.Boolean(required=True)
    role = fields.String(required=True, allow_none=True)
    failure = fields.String(allow_none=True)
    suspension_reason = fields.String(allow_none=True)
    read_only = fields.Boolean(required=True)
    read_only_reason = fields.String(allow_none=True)
    last_backup_at = fields.AwareDateTime(allow_none=True)
    last_proven_at = fields.AwareDateTime(allow_none=True)
    purge_at = fields.AwareDateTime(allow_none=True)
    created_at = fields.AwareDateTime(required=True)
    updated_at = fields.AwareDateTime(required=True)


class NewSandbox(NewTenant):
    """It is purged after so many ``days``."""

    days = fields.Integer(load_default=7, strict=True, validate=validate.Range(min=1, max=90))


class Sandbox(Schema):
    """A tenant of its own, with an id and an address; ``failure`` says why it is no copy."""

    tenant_id = fields.UUID(required=True)
    source_id = fields.UUID(required=True)
    state = fields.String(
        required=True, validate=validate.OneOf([each.value for each in SandboxState])
    )
    failure = fields.String(required=True, allow_none=True)
    created_at = fields.AwareDateTime(required=True)
    expires_at = fields.AwareDateTime(required=True)


class SandboxPage(Schema):
    items = fields.List(fields.Nested(Sandbox), required=True)
    next_cursor = fields.String(allow_none=True, required=True)


class DeleteTenant(Schema):
    """``confirm`` repeats the tenant's slug."""

    confirm = fields.String(required=True)


class SuspendTenant(Schema):
    """The reason is shown to the tenant's owners."""

    reason = fields.String(load_default=None, validate=validate.Length(min=1, max=1000))


class MakeReadOnly(SuspendTenant):
    """The reason is shown to the tenant's owners."""


class TenantQuery(PageQuery):
    state = fields.String(
        load_default=None, validate=validate.OneOf([state.value for state in TenantState])
    )


class Member(Schema):
    """A person's membership of the tenant; while it is not active, it opens nothing."""

    EXAMPLE: Final = {"email": "ada@example.com", "name": "Ada", "role": "admin"}

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

    role = fields.String(validate=_ROLE)
    active = fields.Boolean(truthy={True}, falsy={False})

    @validates_schema
    def _changes_something(self, loaded: dict[str, object], **_: object) -> None:
        if not loaded:
            raise ValidationError("Give a role, or active, or both.")


class RenameTenant(Schema):
    name = fields.String(required=True, validate=_NAME)


class TenantPage(Schema):
    items = fields.List(fields.Nested(Tenant), required=True)
    next_cursor = fields.String(allow_none=True, required=True)


class ClaimDomain(Schema):
    domain = fields.String(required=True, validate=validate.Length(min=1, max=253))


class Domain(Schema):
    """Proven (``active``) once a TXT record at ``challenge_name`` shows the ``challenge``."""

    EXAMPLE: Final = {
        "domain": "documents.acme.example",
        "challenge_name": "_tenantry-challenge.documents.acme.example",
        "challenge": "Jw3cVq…",
        "active": False,
    }

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


class NewOwner(Schema):
    name = fields.String(required=True, validate=_NAME)
    email = fields.Email(required=True, validate=_EMAIL)


class Register(Schema):
    tenant = fields.Nested(NewTenant, required=True)
    owner = fields.Nested(NewOwner, required=True)


class Registered(Schema):
    """The same for everybody who asks."""

    EXAMPLE: Final = {
        "detail": "Check your mail: the link in it makes your account and your tenant."
    }

    detail = fields.String(required=True)


class ConfirmRegistration(Schema):
    """``slug`` replaces the one first asked for, should another tenant have taken it."""

    token = fields.String(required=True, load_only=True, validate=_TOKEN)
    password = fields.String(required=True, load_only=True, validate=_NEW_PASSWORD)
    slug = fields.String(load_default=None, validate=_SLUG)


class NewInvitation(Schema):
    email = fields.Email(required=True, validate=_EMAIL)
    role = fields.String(required=True, validate=_ROLE)


class Invitation(Schema):
    """``state`` is pending, accepted, revoked or expired; ``sent_at`` when its last mail left."""

    EXAMPLE: Final = {"email": "bob@example.com", "role": "viewer", "state": "pending"}

    id = fields.UUID(required=True)
    email = fields.String(required=True)
    role = fields.String(required=True)
    state = fields.String(required=True)
    active = fields.Boolean(required=True)
    invited_by = fields.UUID(required=True)
    created_at = fields.AwareDateTime(required=True)
    updated_at = fields.AwareDateTime(required=True)
    sent_at = fields.AwareDateTime(required=True, allow_none=True)
    expires_at = fields.AwareDateTime(required=True)


class InvitationQuery(PageQuery):
    state = fields.String(
        load_default=None, validate=validate.OneOf(["pending", "accepted", "revoked", "expired"])
    )


class InvitationPage(Schema):
    items = fields.List(fields.Nested(Invitation), required=True)
    next_cursor = fields.String(allow_none=True, required=True)


class InvitationToken(Schema):
    """What the mail's link carries behind #token=."""

    token = fields.String(required=True, load_only=True, validate=_TOKEN)


class InvitationPreview(Schema):
    """For the holder of the token; ``email`` is the address that it went to."""

    EXAMPLE: Final = {
        "tenant": "Acme",
        "inviter": "Ada",
        "email": "bob@example.com",
        "role": "viewer",
        "account_exists": False,
    }

    tenant = fields.String(required=True)
    inviter = fields.String(required=True)
    email = fields.String(required=True)
    role = fields.String(required=True)
    expires_at = fields.AwareDateTime(required=True)
    account_exists = fields.Boolean(required=True)


class AcceptInvitation(InvitationToken):
    """``name`` and ``password`` are for somebody without an account."""

    name = fields.String(load_default=None, validate=_NAME)
    password = fields.String(load_default=None, load_only=True, validate=_NEW_PASSWORD)


class InvitationAccepted(Schema):
    """Sign in now; ``role`` is the one that a member had already, where there was one."""

    EXAMPLE: Final = {"tenant": "Acme", "role": "viewer"}

    tenant_id = fields.UUID(required=True)
    tenant = fields.String(required=True)
    role = fields.String(required=True)
