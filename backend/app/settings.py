"""The only reader of the environment: typed, frozen, checked at start."""

import base64
import re
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, cast
from urllib.parse import urlsplit

from cryptography.fernet import Fernet
from flask import current_app
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


def _split(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


class Settings(BaseSettings):
    """One field per environment variable of the same name, in capitals."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    public_url: str = "http://localhost:4999"
    # Where people follow the links of mails; PUBLIC_URL where this is not given.
    web_url: str | None = None

    # Names this installation's roles and databases on a server that others may share.
    installation_id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9]{2,15}$")]
    # Signs links and cursors.
    secret_key: Annotated[SecretStr, Field(min_length=32)]
    # Fernet keys that encrypt stored secrets: the first encrypts, all decrypt.
    secrets_keys: Annotated[tuple[SecretStr, ...], NoDecode, Field(min_length=1)]

    # Each names a role of its own; docs/decisions/0003 says which process holds which.
    database_url: SecretStr
    database_owner_url: SecretStr | None = None
    database_platform_url: SecretStr | None = None
    provisioner_url: SecretStr
    redis_url: SecretStr
    redis_timeout_seconds: Annotated[float, Field(gt=0, le=10)] = 1.0
    # Peers that are believed when they say for whom they forward a request.
    trusted_proxies: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = ()

    main_pool_size: Annotated[int, Field(ge=1, le=200)] = 10
    platform_pool_size: Annotated[int, Field(ge=1, le=200)] = 2
    tenant_connection_budget: Annotated[int, Field(ge=1, le=5000)] = 40
    tenant_connections_per_tenant: Annotated[int, Field(ge=1, le=100)] = 4
    # CONNECTION LIMIT of each tenant's role, over all processes.
    tenant_role_connection_limit: Annotated[int, Field(ge=1, le=1000)] = 40
    tenant_waiters_per_tenant: Annotated[int, Field(ge=0, le=100)] = 2
    tenant_connection_wait: Annotated[float, Field(gt=0, le=60)] = 2.0
    tenant_statement_timeout_ms: Annotated[int, Field(ge=100)] = 30_000
    # How many processes (API workers, job workers) open connections at the same time.
    process_count: Annotated[int, Field(ge=1, le=1000)] = 4
    connect_timeout: Annotated[int, Field(ge=2, le=60)] = 5
    opaque_database_names: bool = False

    # A job whose worker is silent for so long is given to another.
    job_lease_seconds: Annotated[float, Field(ge=1, le=600)] = 30
    job_attempts: Annotated[int, Field(ge=1, le=100)] = 10
    # After the first failed attempt; doubles with each further one, up to an hour.
    job_back_off_seconds: Annotated[float, Field(gt=0, le=3600)] = 10
    # How often the scheduler looks for what is due.
    job_sweep_seconds: Annotated[float, Field(gt=0, le=30)] = 5
    # How long jobs that are over are kept; those that failed are kept until somebody drops them.
    job_retention_days: Annotated[int, Field(ge=2)] = 7

    # Tenants answer to {slug}.{base domain} where there is one.
    tenant_base_domain: Annotated[str, Field(pattern=_DOMAIN)] | None = None
    # A request that creates a tenant waits so many seconds for its database.
    tenant_creation_wait: Annotated[float, Field(ge=0, le=60)] = 10.0
    tenant_grace_days: Annotated[float, Field(ge=0, le=3650)] = 30.0
    max_tenants: Annotated[int, Field(ge=0)] | None = None
    # Of the resolvers that custom domains are proven by, ``address`` or ``address:port``; without
    # any, the system's.
    dns_servers: Annotated[tuple[str, ...], NoDecode] = ()
    dns_timeout: Annotated[float, Field(gt=0, le=30)] = 5.0
    # A file of publicsuffix.org: nobody can claim what lies in it.
    public_suffix_list: Path | None = None

    # Opens /metrics; without it there are none.
    metrics_token: Annotated[SecretStr, Field(min_length=32)] | None = None
    # Where the API's workers share their figures; gunicorn.conf.py makes a folder and empties it.
    prometheus_multiproc_dir: Path | None = None

    storage_path: Path
    max_upload_bytes: Annotated[int, Field(ge=1)] = 5 * 1024**3
    # Direct uploads up to this size are verified in the request, larger ones in a job.
    verify_at_once_bytes: Annotated[int, Field(ge=0)] = 64 * 1024**2
    max_json_bytes: Annotated[int, Field(ge=1024)] = 1024**2
    # Versions of one document that are kept.
    max_versions: Annotated[int, Field(ge=1, le=10_000)] = 100
    trash_days: Annotated[int, Field(ge=1, le=3650)] = 30
    max_zip_documents: Annotated[int, Field(ge=1, le=10_000)] = 500
    max_zip_bytes: Annotated[int, Field(ge=1)] = 2 * 1024**3
    # Of each tenant without limits of its own; none is no limit.
    tenant_quota_bytes: Annotated[int | None, Field(ge=0)] = None
    tenant_quota_documents: Annotated[int | None, Field(ge=0)] = None

    access_token_seconds: Annotated[int, Field(ge=30)] = 15 * 60
    session_seconds: Annotated[int, Field(ge=60)] = 7 * 24 * 3600
    refresh_grace_seconds: Annotated[int, Field(ge=0, le=60)] = 20
    # How old a signing key becomes before the next one is made.
    signing_key_days: Annotated[int, Field(ge=1, le=3650)] = 90
    # How long a process goes on with the signing keys that it knows, and others with our key set.
    signing_key_refresh_seconds: Annotated[int, Field(ge=1, le=3600)] = 30
    key_set_max_age_seconds: Annotated[int, Field(ge=0, le=86_400)] = 300

    # docs/identity.md says why there are four limits, and what each is against.
    login_window_seconds: Annotated[int, Field(ge=1)] = 15 * 60
    login_attempts_per_account_and_address: Annotated[int, Field(ge=1)] = 10
    login_attempts_per_address: Annotated[int, Field(ge=1)] = 100
    login_attempts_over_all: Annotated[int, Field(ge=1)] = 3000
    login_account_window_seconds: Annotated[int, Field(ge=1)] = 24 * 3600
    login_attempts_per_account: Annotated[int, Field(ge=1)] = 100
    login_known_address_seconds: Annotated[int, Field(ge=1)] = 30 * 24 * 3600
    # Of each route that sends a mail to whatever address it is given.
    mail_window_seconds: Annotated[int, Field(ge=1)] = 3600
    mail_requests_per_account: Annotated[int, Field(ge=1)] = 5
    mail_requests_per_address: Annotated[int, Field(ge=1)] = 30
    mail_requests_over_all: Annotated[int, Field(ge=1)] = 2000

    # RFC 9106's second recommendation is 64 MiB, 3 passes, 4 lanes.
    password_hash_memory_kib: Annotated[int, Field(ge=32)] = 65_536
    password_hash_passes: Annotated[int, Field(ge=1)] = 3

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
    def _are_fernet_keys(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for key in keys:
            Fernet(key.get_secret_value())
        return keys

    @field_validator("report_signing_key")
    @classmethod
    def _is_a_seed(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and len(base64.urlsafe_b64decode(key.get_secret_value())) != _SEED_BYTES:
            raise ValueError("it is the URL-safe base64 of 32 bytes")
        return key

    @field_validator("public_url", "web_url")
    @classmethod
    def _is_an_origin(cls, url: str | None) -> str | None:
        if url is None:
            return None
        if not url.startswith(("http://", "https://")):
            raise ValueError("it begins with http:// or https://")
        return url.rstrip("/")

    @field_validator("mail_url")
    @classmethod
    def _names_a_mailer(cls, url: SecretStr) -> SecretStr:
        try:
            parts = urlsplit(url.get_secret_value())
            known = parts.port is None or parts.port > 0
        except ValueError:  # its text would repeat the password
            known = False
        if not known or (parts.scheme, bool(parts.hostname), parts.query) not in _MAILERS:
            raise ValueError(
                "it is console:, smtp://host?starttls=required (or off) or smtps://host"
            )
        return url

    @field_validator("storage_path")
    @classmethod
    def _is_given_for_disk(cls, path: Path, info: ValidationInfo) -> Path:
        if info.data.get("storage_backend") == "disk" and path == Path():
            raise ValueError("Field required where STORAGE_BACKEND is disk")
        return path

    @field_validator(
        "s3_endpoint_url", "s3_bucket", "s3_region", "s3_access_key_id", "s3_secret_access_key"
    )
    @classmethod
    def _is_given_for_s3(cls, value: Any, info: ValidationInfo) -> Any:
        if info.data.get("storage_backend") == "s3" and value in {"", SecretStr("")}:
            raise ValueError("Field required where STORAGE_BACKEND is s3")
        return value

    @field_validator("s3_endpoint_url", "s3_public_url")
    @classmethod
    def _is_the_origin_of_a_store(cls, url: str) -> str:
        """A path behind the host would be signed, and a proxy that takes it away breaks links."""
        parts = urlsplit(url.rstrip("/"))
        if url and not (parts.scheme in {"http", "https"} and parts.netloc and not parts.path):
            raise ValueError("it is http:// or https:// and a host, without a path")
        return url.rstrip("/")

    @field_validator("s3_bucket")
    @classmethod
    def _is_the_name_of_a_bucket(cls, name: str) -> str:
        """Amazon S3's "bucket naming rules"; dots are left out, because of certificates."""
        if name and not re.fullmatch(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", name):
            raise ValueError("it has 3 to 63 of a-z, 0-9 and -")
        return name

    @field_validator(
        "database_url", "database_owner_url", "database_platform_url", "provisioner_url"
    )
    @classmethod
    def _is_a_libpq_uri(cls, url: SecretStr | None) -> SecretStr | None:
        schemes = ("postgresql://", "postgres://")
        if url is not None and not url.get_secret_value().startswith(schemes):
            raise ValueError("it begins with postgresql://")
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
