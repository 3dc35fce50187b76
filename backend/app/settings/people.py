"""How long people stay signed in, how often they may try, and what mails they get."""

from pathlib import Path
from typing import Annotated, Final, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator

from app.settings.rules import Environment, Group, in_production, unless_testing

# Scheme, whether there is a host, query.
_MAILERS: Final = frozenset(
    {
        ("console", False, ""),
        ("smtp", True, ""),
        ("smtp", True, "starttls=required"),
        ("smtp", True, "starttls=off"),
        ("smtps", True, ""),
    }
)
# An address, or a name and an address: "Acme Support <support@acme.example>".
_MAILBOX: Final = r"^(?:[A-Za-z0-9 .&'-]+<[^\s<>@,;]+@[A-Za-z0-9.-]+>|[^\s<>@,;]+@[A-Za-z0-9.-]+)$"


class People(Group):
    access_token_seconds: Annotated[int, Field(ge=30)] = unless_testing(15 * 60, testing=60)
    """Life of an access token."""
    session_seconds: Annotated[int, Field(ge=60)] = unless_testing(7 * 24 * 3600, testing=300)
    """Life of a session, however often it is refreshed."""
    refresh_grace_seconds: Annotated[int, Field(ge=0, le=60)] = 20
    """How long a used refresh token still gives its successor."""
    signing_key_days: Annotated[int, Field(ge=1, le=3650)] = 90
    """How old a signing key becomes before the next one is made."""
    signing_key_refresh_seconds: Annotated[int, Field(ge=1, le=3600)] = 30
    """How long a process goes on with the signing keys that it knows."""
    key_set_max_age_seconds: Annotated[int, Field(ge=0, le=86_400)] = 300
    """How long others may keep `/.well-known/jwks.json`."""

    login_window_seconds: Annotated[int, Field(ge=1)] = 15 * 60
    """The span of the three limits below; docs/identity.md says what each is against."""
    login_attempts_per_account_and_address: Annotated[int, Field(ge=1)] = 10
    """Failed sign-ins to one account from one address; also changes of one's password."""
    login_attempts_per_address: Annotated[int, Field(ge=1)] = 100
    """Failed sign-ins from one address."""
    login_attempts_over_all: Annotated[int, Field(ge=1)] = 3000
    """Failed sign-ins from addresses where the account is not known."""
    login_account_window_seconds: Annotated[int, Field(ge=1)] = 24 * 3600
    """The span of the next limit."""
    login_attempts_per_account: Annotated[int, Field(ge=1)] = 100
    """Failed sign-ins to one account from addresses where it is not known."""
    login_known_address_seconds: Annotated[int, Field(ge=1)] = 30 * 24 * 3600
    """How long an address is known after a sign-in (30 days)."""
    mail_window_seconds: Annotated[int, Field(ge=1)] = 3600
    """The span of the three limits below, of each route that sends a mail to whatever address it
    is given."""
    mail_requests_per_account: Annotated[int, Field(ge=1)] = 5
    """Requests for one e-mail address."""
    mail_requests_per_address: Annotated[int, Field(ge=1)] = 30
    """Requests from one client's address."""
    mail_requests_over_all: Annotated[int, Field(ge=1)] = 2000
    """All of them."""

    rate_limits: bool | None = None
    """Whether the three limits below hold; unless it says otherwise, they do not under testing."""
    request_window_seconds: Annotated[int, Field(ge=1, le=3600)] = 60
    """The span of the three limits below."""
    requests_per_user: Annotated[int, Field(ge=1)] = 600
    """Requests of one user."""
    requests_per_tenant: Annotated[int, Field(ge=1)] = 6000
    """Requests of all members of one tenant in it."""
    requests_per_address: Annotated[int, Field(ge=1)] = 3000
    """Requests from one client's address, with and without a token."""
    rate_limit_timeout_seconds: Annotated[float, Field(gt=0, le=10)] = 0.2
    """How long a request waits for Redis to count it, before it passes uncounted."""

    # RFC 9106's second recommendation is 64 MiB, 3 passes, 4 lanes.
    password_hash_memory_kib: Annotated[int, Field(ge=32)] = unless_testing(65_536, testing=32)
    """argon2id's memory (RFC 9106); a change rehashes at the next sign-in."""
    password_hash_passes: Annotated[int, Field(ge=1)] = unless_testing(3, testing=1)
    """argon2id's passes."""

    mail_url: SecretStr = SecretStr("console:")
    """`smtp://user:password@host:587` with STARTTLS required (`?starttls=off` for a relay on the
    same host), `smtps://user:password@host:465`, or `console:`, which
    logs mails with their links and is refused in production."""
    mail_from: Annotated[str, Field(pattern=_MAILBOX)] | None = None
    """Sender of mails, required with SMTP: `Acme Support <support@acme.example>`."""
    mail_folder: Path | None = None
    """With `console:`, each mail also becomes an `.eml` file there."""
    registration_enabled: bool = False
    """Whether strangers may register a tenant."""
    email_verification_seconds: Annotated[int, Field(ge=60)] = 24 * 3600
    """Life of a link that verifies an address."""
    password_reset_seconds: Annotated[int, Field(ge=60)] = 3600
    """Life of a link for a new password."""
    registration_seconds: Annotated[int, Field(ge=60)] = 24 * 3600
    """Life of a registration that nobody confirmed."""
    invitation_seconds: Annotated[int, Field(ge=60)] = 7 * 24 * 3600
    """Life of an invitation (7 days)."""
    notification_days: Annotated[int, Field(ge=1, le=3650)] = 90
    """Days for which notifications are kept, read or not."""
    live_streams: Annotated[int, Field(ge=0, le=1000)] = 2
    """Live streams that one process serves at a time: each holds one of its threads."""
    stream_seconds: Annotated[float, Field(gt=0, le=300)] = 25
    """How long a live stream lasts before its reader comes back."""

    @field_validator("rate_limits")
    @classmethod
    def _limits_hold(cls, limits: bool | None, info: ValidationInfo) -> bool:  # noqa: FBT001
        return info.data.get("environment") != Environment.TESTING if limits is None else limits

    @field_validator("mail_url")
    @classmethod
    def _names_a_mailer(cls, url: SecretStr, info: ValidationInfo) -> SecretStr:
        try:
            parts = urlsplit(url.get_secret_value())
            known = parts.port is None or parts.port > 0
        except ValueError:  # its text would repeat the password
            known = False
        if not known or (parts.scheme, bool(parts.hostname), parts.query) not in _MAILERS:
            raise ValueError(
                "it is console:, smtp://host?starttls=required (or off) or smtps://host"
            )
        if parts.scheme == "console" and in_production(info):
            raise ValueError("it is a mail server's in production: links of mails open accounts")
        return url

    @model_validator(mode="after")
    def _mail_has_a_sender(self) -> Self:
        if (
            self.mail_from is None
            and urlsplit(self.mail_url.get_secret_value()).scheme != "console"
        ):
            raise ValueError("MAIL_FROM is needed to send mail by SMTP")
        return self
