"""The only reader of the environment: typed, frozen, checked at start.

What is harmless on a developer's machine and not in production is refused there, beside the rule
that holds everywhere.
"""

import base64
import re
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, cast
from urllib.parse import urlsplit

from cryptography.fernet import Fernet
from flask import current_app
from psycopg import pq
from pydantic import (
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

# Lower-case labels of RFC 1035, at least two.
_DOMAIN: Final = r"^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]$"
_SERVER: Final = re.compile(
    r"(?:(?P<v4>[\d.]+)|\[(?P<v6>[\da-f:]+)\])(?::\d{1,5})?\Z|(?P<bare>[\da-f:]+)\Z"
)
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


_SEED_BYTES: Final = 32


class InvalidSettings(SystemExit):
    """The environment does not describe a system that can run; the message names every fault."""


class Environment(StrEnum):
    DEVELOPMENT = "development"
    TESTING = "testing"
    PRODUCTION = "production"


# What generated secrets never hold, and examples, defaults and habits do.
_WORDS: Final = ("change", "default", "example", "password", "postgres", "secret", "12345")
_FEWEST_CHARACTERS: Final = 10
_SHORTEST_PASSWORD: Final = 12

_DATABASE_URLS: Final = (
    "database_url",
    "database_owner_url",
    "database_platform_url",
    "provisioner_url",
)


class Settings(BaseSettings):
    """One field per environment variable of the same name, in capitals."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="ignore",
        env_ignore_empty=True,
        validate_default=True,
        use_attribute_docstrings=True,
    )

    environment: Environment = Environment.PRODUCTION
    """Production refuses weak secrets, plain http, debugging and roles that no rule holds."""
    flask_debug: bool = False
    """Flask's own switch: the debugger, which runs code for whoever reaches it."""
    public_url: str = "http://localhost:4999"
    """Where clients reach the API: in links, and as the tokens' issuer, so a change ends tokens."""
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Web origins, separated by commas, whose pages may call the API; `http://localhost:3000` in
    development."""

    installation_id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9]{2,15}$")]
    """3 to 16 of `a-z0-9`, a letter first; in the names of roles and databases."""
    secret_key: Annotated[SecretStr, Field(min_length=32)]
    """Signs links and cursors, derives refresh tokens."""
    secrets_keys: Annotated[tuple[SecretStr, ...], NoDecode, Field(min_length=1)]
    """Fernet keys that encrypt stored secrets, separated by commas: the first seals, all open."""

    # Each names a role of its own; docs/decisions/0003 says which process holds which.
    database_url: SecretStr
    """The main database as `{id}_app`."""
    database_owner_url: SecretStr | None = None
    """The main database as `{id}_main_owner`: migrations."""
    database_platform_url: SecretStr | None = None
    """The main database as `{id}_platform`: work across tenants."""
    provisioner_url: SecretStr
    """The database `postgres` of the tenants' server as `{id}_provisioner`."""
    redis_url: SecretStr
    """Where jobs are sent and attempts counted: `redis://` or `rediss://`."""
    redis_timeout_seconds: Annotated[float, Field(gt=0, le=10)] = 1.0
    """How long to wait for a connection, and for an answer, when attempts are counted."""
    trusted_proxies: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = ()
    """Networks of the proxies whose `X-Forwarded-*` is believed, separated by commas."""

    main_pool_size: Annotated[int, Field(ge=1, le=200)] = 10
    """Connections to the main database, per process."""
    platform_pool_size: Annotated[int, Field(ge=1, le=200)] = 2
    """Connections to the main database as `{id}_platform`, per process."""
    tenant_connection_budget: Annotated[int, Field(ge=1, le=5000)] = 40
    """Connections to all tenants' databases, per process."""
    tenant_connections_per_tenant: Annotated[int, Field(ge=1, le=100)] = 4
    """Of these for one tenant, per process."""
    tenant_role_connection_limit: Annotated[int, Field(ge=1, le=1000)] = 40
    """CONNECTION LIMIT of a tenant's role, over all processes; for tenants made from now on."""
    tenant_waiters_per_tenant: Annotated[int, Field(ge=0, le=100)] = 2
    """Requests of one tenant that may wait for a connection; others get 503 `tenant_busy`."""
    tenant_connection_wait: Annotated[float, Field(gt=0, le=60)] = 2.0
    """How many seconds they wait."""
    tenant_statement_timeout_ms: Annotated[int, Field(ge=100)] = 30_000
    """The longest statement on a tenant's database."""
    process_count: Annotated[int, Field(ge=1, le=1000)] = 4
    """Processes that connect at the same time: gunicorn's workers and Celery's children."""
    connect_timeout: Annotated[int, Field(ge=2, le=60)] = 5
    """Seconds for a connection to be made, or to come free in the main pool."""
    opaque_database_names: bool = False
    """Names new tenants' databases `tenant_{uuid}`, without the slug."""

    job_lease_seconds: Annotated[float, Field(ge=1, le=600)] = 30
    """A job whose worker is silent for so long is given to another; so is one nobody has taken."""
    job_attempts: Annotated[int, Field(ge=1, le=100)] = 10
    """Then a job is `failed`."""
    job_back_off_seconds: Annotated[float, Field(gt=0, le=3600)] = 10
    """The pause after the first failed attempt; doubles with each further one, up to an hour."""
    job_sweep_seconds: Annotated[float, Field(gt=0, le=30)] = 5
    """How often the scheduler looks for what is due."""
    job_retention_days: Annotated[int, Field(ge=2)] = 7
    """How long jobs that are done or dropped are kept; failed ones stay until they are dropped."""

    tenant_base_domain: Annotated[str, Field(pattern=_DOMAIN)] | None = None
    """Tenants answer to `{slug}.` this domain; needs a wildcard record and certificate."""
    tenant_creation_wait: Annotated[float, Field(ge=0, le=60)] = 10.0
    """Seconds for which creating a tenant waits for its database, before 202."""
    tenant_grace_days: Annotated[float, Field(ge=0, le=3650)] = 30.0
    """How long a deleted tenant can be restored; for those deleted from now on."""
    max_tenants: Annotated[int, Field(ge=0)] | None = None
    """How many tenants there may be; deleted ones do not count."""
    dns_servers: Annotated[tuple[str, ...], NoDecode] = ()
    """Resolvers that custom domains are proven by, with commas: `192.0.2.1`, `[2001:db8::1]:53`."""
    dns_timeout: Annotated[float, Field(gt=0, le=30)] = 5.0
    """Seconds for one question to them."""
    public_suffix_list: Path | None = None
    """File of [publicsuffix.org](https://publicsuffix.org/list/): domains in it cannot be claimed.
    Without it only the usual registries of countries (`co.uk`) are known."""

    metrics_token: Annotated[SecretStr, Field(min_length=32)] | None = None
    """Opens /metrics to Prometheus: 32 characters or more; without it there is no such page."""
    prometheus_multiproc_dir: Path | None = None
    """Where the API's workers share their figures, emptied at the start; else a new folder."""

    storage_path: Path
    """The folder of the file store."""
    max_upload_bytes: Annotated[int, Field(ge=1)] = 5 * 1024**3
    """The largest file."""
    max_json_bytes: Annotated[int, Field(ge=1024)] = 1024**2
    """The largest JSON body."""

    access_token_seconds: Annotated[int, Field(ge=30)] = 15 * 60
    """Life of an access token."""
    session_seconds: Annotated[int, Field(ge=60)] = 7 * 24 * 3600
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
    """The span of the next."""
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

    # RFC 9106's second recommendation is 64 MiB, 3 passes, 4 lanes.
    password_hash_memory_kib: Annotated[int, Field(ge=32)] = 65_536
    """argon2id's memory (RFC 9106); a change rehashes at the next sign-in."""
    password_hash_passes: Annotated[int, Field(ge=1)] = 3
    """argon2id's passes."""

    # console:, smtp://user:password@host:587?starttls=required (or off), or smtps://…
    mail_url: SecretStr = SecretStr("console:")
    mail_from: Annotated[str, Field(pattern=_MAILBOX)] | None = None
    # Under console:, each mail also becomes an .eml file here.
    mail_folder: Path | None = None
    registration_enabled: bool = False
    # How long the link of a mail is good for.
    email_verification_seconds: Annotated[int, Field(ge=60)] = 24 * 3600
    password_reset_seconds: Annotated[int, Field(ge=60)] = 3600
    registration_seconds: Annotated[int, Field(ge=60)] = 24 * 3600
    invitation_seconds: Annotated[int, Field(ge=60)] = 7 * 24 * 3600

    @field_validator("secrets_keys", "dns_servers", mode="before")
    @classmethod
    def _split_keys(cls, value: object) -> object:
        return _split(value) if isinstance(value, str) else value

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _are_networks(cls, value: object) -> object:
        """A host's address is a network of one; 10.0.0.1/8 is a slip of the pen."""
        return tuple(map(ip_network, _split(value))) if isinstance(value, str) else value

    @field_validator("dns_servers")
    @classmethod
    def _are_addresses(cls, servers: tuple[str, ...]) -> tuple[str, ...]:
        for server in servers:
            match = _SERVER.match(server)
            if match is None:
                raise ValueError(f"{server!r} is not an address, or an address with a port")
            ip_address(match["v4"] or match["v6"] or match["bare"])
        return servers

    @field_validator("public_suffix_list")
    @classmethod
    def _is_readable(cls, path: Path | None) -> Path | None:
        if path is not None and not path.is_file():
            raise ValueError("there is no such file")
        return path

    @field_validator("secrets_keys")
    @classmethod
    def _are_fernet_keys(
        cls, keys: tuple[SecretStr, ...], info: ValidationInfo
    ) -> tuple[SecretStr, ...]:
        for key in keys:
            Fernet(key.get_secret_value())
            raw = base64.urlsafe_b64decode(key.get_secret_value())
            if _in_production(info) and len(set(raw)) < _FEWEST_CHARACTERS:
                raise ValueError("a key is no random one; use Fernet.generate_key()")
        return keys

    @field_validator("environment")
    @classmethod
    def _psycopg_is_fast(cls, environment: Environment) -> Environment:
        if environment == Environment.PRODUCTION and pq.__impl__ == "python":
            raise ValueError("production needs psycopg[c] or psycopg[binary]")
        return environment

    @field_validator("flask_debug")
    @classmethod
    def _nobody_debugs(cls, debug: bool, info: ValidationInfo) -> bool:  # noqa: FBT001
        if debug and _in_production(info):
            raise ValueError("production has no debugger")
        return debug

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split_origins(cls, value: object, info: ValidationInfo) -> object:
        if not value and info.data.get("environment") == Environment.DEVELOPMENT:
            return ("http://localhost:3000",)
        return _split(value) if isinstance(value, str) else value

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            parts = urlsplit(origin)
            if not parts.netloc or origin != f"{parts.scheme}://{parts.netloc}".lower():
                raise ValueError(f"{origin} is no origin such as https://app.example.com")
        return origins

    @field_validator("public_url")
    @classmethod
    def _is_an_origin(cls, url: str, info: ValidationInfo) -> str:
        if not url.startswith(("http://", "https://")):
            raise ValueError("it begins with http:// or https://")
        if _in_production(info) and not url.startswith("https://"):
            raise ValueError("it begins with https:// in production")
        return url.rstrip("/")

    @field_validator("secret_key", "metrics_token")
    @classmethod
    def _is_strong(cls, secret: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if secret is not None and _in_production(info):
            _refuse_weak(secret.get_secret_value())
        return secret

    @field_validator(*_DATABASE_URLS)
    @classmethod
    def _is_a_libpq_uri(cls, url: SecretStr | None) -> SecretStr | None:
        schemes = ("postgresql://", "postgres://")
        if url is not None and not url.get_secret_value().startswith(schemes):
            raise ValueError("it begins with postgresql://")
        return url

    @field_validator(*_DATABASE_URLS, "redis_url")
    @classmethod
    def _password_is_strong(cls, url: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        """Without a password in it, the server may know the client by other means."""
        password = None if url is None else urlsplit(url.get_secret_value()).password
        if password is not None and _in_production(info):
            _refuse_weak(password)
        return url

    @field_validator("redis_url")
    @classmethod
    def _is_a_redis_uri(cls, url: SecretStr) -> SecretStr:
        if not url.get_secret_value().startswith(("redis://", "rediss://")):
            raise ValueError("it begins with redis:// or rediss://")
        return url

    @property
    def public_host(self) -> str:
        return urlsplit(self.public_url).hostname or ""

    @model_validator(mode="after")
    def _mail_has_a_sender(self) -> Self:
        if (
            self.mail_from is None
            and urlsplit(self.mail_url.get_secret_value()).scheme != "console"
        ):
            raise ValueError("MAIL_FROM is needed to send mail by SMTP")
        return self

    @model_validator(mode="after")
    def _connections_fit_the_role(self) -> Self:
        needed = self.tenant_connections_per_tenant * self.process_count
        if needed > self.tenant_role_connection_limit:
            raise ValueError(
                f"TENANT_CONNECTIONS_PER_TENANT x PROCESS_COUNT = {needed} exceeds "
                f"TENANT_ROLE_CONNECTION_LIMIT = {self.tenant_role_connection_limit}",
            )
        return self

    @property
    def link_origin(self) -> str:
        """What the links of mails begin with."""
        return self.web_url or self.public_url


def _in_production(info: ValidationInfo) -> bool:
    return info.data.get("environment") == Environment.PRODUCTION


def _split(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _refuse_weak(secret: str) -> None:
    if any(word in secret.lower() for word in _WORDS):
        raise ValueError("it holds a word that people guess; generate it")
    if len(secret) < _SHORTEST_PASSWORD or len(set(secret)) < _FEWEST_CHARACTERS:
        raise ValueError("it is too simple for production; generate it")


def load_settings(*, for_jobs: bool = False) -> Settings:
    """The settings from the environment; a process for jobs cannot do without the platform's role.

    Raises:
        InvalidSettings: with one line for each variable that is missing or wrong.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        faults = [
            f"  {'.'.join(map(str, fault['loc'])).upper() or 'SETTINGS'}: {fault['msg']}"
            for fault in error.errors(include_input=False, include_url=False)
        ]
        raise InvalidSettings("\n".join(["The settings are not usable:", *faults])) from None
    if for_jobs and settings.database_platform_url is None:
        raise InvalidSettings("  DATABASE_PLATFORM_URL: Field required")
    return settings


def current_settings() -> Settings:
    return cast("Settings", current_app.extensions["settings"])
