"""What single sign-on takes and gives over HTTP."""

from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate, validates_schema

from app.core.fields import Id
from app.domains.sso.service.refusals import advice_for

_ROLES = ("owner", "admin", "user", "viewer")
_GIVEN_ANYWAY = frozenset({"openid", "profile", "offline_access"})
_TOKEN = validate.Length(min=1, max=256)
_PASSWORD = validate.Length(min=1, max=256)


class DirectoryId(Id):
    """The id of one directory: a name such as ``common`` would let in everybody's."""

    default_error_messages = {  # noqa: RUF012  # marshmallow's own way
        "invalid_uuid": "Give the directory's own id (a UUID); common, organizations and consumers"
        " are everybody's."
    }


def _is_scope(scope: str) -> None:
    if scope in _GIVEN_ANYWAY:
        raise ValidationError(f"{scope} is asked for anyway; leave it out.")
    if not scope.isascii() or not scope.isprintable() or " " in scope:
        raise ValidationError("A scope is a word such as User.Read.")


class ChangeConfig(Schema):
    """``client_secret`` and ``certificate`` (PEM, with its private key) are never shown again."""

    client_secret = fields.String(
        load_only=True, allow_none=True, validate=validate.Length(min=1, max=500)
    )
    certificate = fields.String(
        load_only=True, allow_none=True, validate=validate.Length(min=1, max=20_000)
    )
    credential_expires_at = fields.AwareDateTime(allow_none=True)
    directory_id = DirectoryId()
    client_id = Id()
    scopes = fields.List(
        fields.String(validate=[validate.Length(min=1, max=200), _is_scope]),
        validate=validate.Length(min=1, max=20),
        metadata={"example": ["User.Read"]},
    )
    group_roles = fields.Dict(
        keys=Id(),
        values=fields.String(validate=validate.OneOf(_ROLES)),
        validate=validate.Length(max=200),
        metadata={"example": {"0f2b1c9e-5d2f-4c57-9a6c-3f1f2f0f8a11": "admin"}},
    )
    response_mode = fields.String(validate=validate.OneOf(("query", "form_post")))
    auth_method = fields.String(validate=validate.OneOf(("local", "sso", "both")))
    sso_domain_whitelist = fields.List(
        fields.String(validate=validate.Length(min=1, max=253)),
        validate=validate.Length(max=100),
        metadata={"example": ["acme.example"]},
    )
    auto_provisioning_enabled = fields.Boolean(truthy={True}, falsy={False})
    default_role = fields.String(allow_none=True, validate=validate.OneOf(_ROLES[1:]))

    @validates_schema
    def _changes_something(self, loaded: dict[str, Any], **_: object) -> None:
        if not loaded:
            raise ValidationError("Give at least one field.")

    @staticmethod
    def values(loaded: dict[str, Any]) -> dict[str, Any]:
        """With what is kept as JSON as text, and domains as they are kept."""
        values = dict(loaded)
        if "group_roles" in values:
            values["group_roles"] = {str(key): role for key, role in loaded["group_roles"].items()}
        if "sso_domain_whitelist" in values:
            values["sso_domain_whitelist"] = [
                domain.lower() for domain in loaded["sso_domain_whitelist"]
            ]
        return values


class PutConfig(ChangeConfig):
    """A whole configuration; what is left out is as at first, and secrets are gone."""

    credential_expires_at = fields.AwareDateTime(allow_none=True, load_default=None)
    directory_id = DirectoryId(required=True)
    client_id = Id(required=True)
    scopes = fields.List(
        fields.String(validate=[validate.Length(min=1, max=200), _is_scope]),
        validate=validate.Length(min=1, max=20),
        load_default=lambda: ["User.Read"],
    )
    group_roles = fields.Dict(
        keys=Id(),
        values=fields.String(validate=validate.OneOf(_ROLES)),
        validate=validate.Length(max=200),
        load_default=dict,
    )
    response_mode = fields.String(
        validate=validate.OneOf(("query", "form_post")), load_default="query"
    )


class Config(Schema):
    """``state`` is draft, tested or active; ``warnings`` are for whoever looks after it."""

    id = fields.UUID(required=True, attribute="row.id")
    directory_id = fields.UUID(required=True, attribute="row.directory_id")
    client_id = fields.UUID(required=True, attribute="row.client_id")
    has_client_secret = fields.Function(lambda one: one.row.sealed_client_secret is not None)
    has_certificate = fields.Function(lambda one: one.row.sealed_certificate is not None)
    credential_expires_at = fields.AwareDateTime(
        allow_none=True, attribute="row.credential_expires_at"
    )
    scopes = fields.List(fields.String(), required=True, attribute="row.scopes")
    group_roles = fields.Dict(
        keys=fields.String(), values=fields.String(), required=True, attribute="row.group_roles"
    )
    response_mode = fields.String(required=True, attribute="row.response_mode")
    state = fields.String(required=True, attribute="row.state")
    active = fields.Boolean(required=True, attribute="row.active")
    tested_at = fields.AwareDateTime(allow_none=True, attribute="row.tested_at")
    activated_at = fields.AwareDateTime(allow_none=True, attribute="row.activated_at")
    auth_method = fields.String(required=True, attribute="sign_in.auth_method")
    sso_domain_whitelist = fields.List(
        fields.String(), required=True, attribute="sign_in.whitelist"
    )
    auto_provisioning_enabled = fields.Boolean(
        required=True, attribute="sign_in.auto_provisioning_enabled"
    )
    default_role = fields.String(required=True, allow_none=True, attribute="sign_in.default_role")
    redirect_uri = fields.String(required=True)
    login_url = fields.String(required=True)
    admin_consent_url = fields.String(required=True)
    warnings = fields.List(fields.String(), required=True)
    created_at = fields.AwareDateTime(required=True, attribute="row.created_at")
    updated_at = fields.AwareDateTime(required=True, attribute="row.updated_at")


class Test(Schema):
    """Sign in at ``login_url``, once, in a browser; then the directory can be switched on."""

    __test__ = False  # for pytest, which collects what is named so

    login_url = fields.String(required=True)
    expires_at = fields.AwareDateTime(required=True)


class Attempt(Schema):
    """``aadsts`` is Entra's number for it, ``advice`` what somebody can do."""

    id = fields.UUID(required=True)
    created_at = fields.AwareDateTime(required=True)
    reason = fields.String(required=True)
    aadsts = fields.String(required=True, allow_none=True)
    account = fields.String(required=True, allow_none=True)
    address = fields.String(required=True, allow_none=True)
    advice = fields.Function(advice_for)


class AttemptPage(Schema):
    items = fields.List(fields.Nested(Attempt), required=True)
    next_cursor = fields.String(allow_none=True, required=True)


class Login(Schema):
    """``return_to`` is the page that gets a code, with the S256 ``code_challenge`` (RFC 7636)."""

    return_to = fields.String(load_default=None, validate=validate.Length(min=1, max=2000))
    code_challenge = fields.String(
        load_default=None, validate=validate.Regexp(r"[A-Za-z0-9_-]{43}\Z")
    )
    login_hint = fields.String(load_default=None, validate=validate.Length(min=1, max=254))
    test = fields.String(load_default=None, validate=_TOKEN)
    step_up = fields.String(load_default=None, validate=_TOKEN)

    @validates_schema
    def _code_is_bound(self, loaded: dict[str, Any], **_: object) -> None:
        if loaded["return_to"] is not None and loaded["code_challenge"] is None:
            raise ValidationError("A page that gets a code gives a challenge.", "code_challenge")


class Callback(Schema):
    """What a directory answers (OpenID Connect Core 1.0, section 3.1.2.5); it may say more."""

    class Meta:
        unknown = EXCLUDE

    state = fields.String(load_default="")
    code = fields.String()
    error = fields.String()
    error_description = fields.String()
    iss = fields.String()


class SsoTokens(Schema):
    """RFC 6749, section 5.1; ``expires_in`` in seconds."""

    access_token = fields.String(required=True)
    refresh_token = fields.String(required=True)
    token_type = fields.String(required=True)
    expires_in = fields.Integer(required=True)


class Exchange(Schema):
    """The code of the page's address, and what its challenge was made of."""

    code = fields.String(required=True, load_only=True, validate=_TOKEN)
    code_verifier = fields.String(
        required=True, load_only=True, validate=validate.Length(min=43, max=128)
    )


class Link(Schema):
    """``link_token`` is out of the answer to the sign-in; the rest is the account's here."""

    link_token = fields.String(required=True, load_only=True, validate=_TOKEN)
    email = fields.Email(required=True, validate=validate.Length(max=254))
    password = fields.String(required=True, load_only=True, validate=_PASSWORD)


class Availability(Schema):
    """The same for a tenant that does not exist as for one without a directory."""

    available = fields.Boolean(required=True)
    login_url = fields.String(required=True, allow_none=True)


class Detect(Schema):
    email = fields.Email(required=True, validate=validate.Length(max=254))


class LoginAddress(Schema):
    tenant_id = fields.UUID(required=True)
    login_url = fields.String(required=True)


class Detected(Schema):
    """Where people with such an address sign in; nobody is told who has an account."""

    items = fields.List(fields.Nested(LoginAddress), required=True)


class LoggedOut(Schema):
    """``logout_url`` ends the directory's own session too; null where none was part of it."""

    logout_url = fields.String(required=True, allow_none=True)


class ProfileQuery(Schema):
    """Which tenant's directory; by default the one that the person signed in with last."""

    tenant_id = Id(load_default=None)


class Group(Schema):
    id = fields.String(required=True)
    name = fields.String(required=True, allow_none=True)


class Profile(Schema):
    """What the directory knows of the caller."""

    object_id = fields.String(required=True)
    display_name = fields.String(required=True, allow_none=True)
    mail = fields.String(required=True, allow_none=True)
    user_principal_name = fields.String(required=True, allow_none=True)
    job_title = fields.String(required=True, allow_none=True)
    department = fields.String(required=True, allow_none=True)
    office_location = fields.String(required=True, allow_none=True)
    groups = fields.List(fields.Nested(Group), required=True)
