"""Which installation this is, where it is reached, and where its servers are."""

import base64
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from cryptography.fernet import Fernet
from psycopg import pq
from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from app.settings.rules import (
    Beginning,
    Environment,
    in_production,
    refuse_monotonous,
    refuse_weak,
    split,
)

_DATABASE_URLS: Final = (
    "database_url",
    "database_owner_url",
    "database_platform_url",
    "provisioner_url",
)


class Installation(Beginning):
    flask_debug: bool = False
    """Flask's own switch: the debugger, which runs code for whoever reaches it."""
    sqlalchemy_echo: bool = False
    """Logs the statements that SQLAlchemy sends, without their values."""
    public_url: str = "http://localhost:4999"
    """Where clients reach the API: in links, and as the tokens' issuer, so a change ends tokens."""
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Web origins, separated by commas, whose pages may call the API; `http://localhost:3000` in
    development."""
    web_url: str | None = None
    """What the links of mails begin with: where browsers find their pages; else `PUBLIC_URL`."""

    installation_id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9]{2,15}$")]
    """3 to 16 of `a-z0-9`, a letter first; in the names of roles and databases."""
    secret_key: Annotated[SecretStr, Field(min_length=32)]
    """Signs links and cursors, derives refresh tokens."""
    secrets_keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    """Fernet keys that encrypt stored secrets, separated by commas: the first seals, all open.
    Required without Vault; with it, they open what was sealed before."""

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

    idempotency_key_seconds: Annotated[int, Field(ge=60, le=30 * 86_400)] = 24 * 3600
    """How long an Idempotency-Key gets the answer that was given to it first."""
    idempotency_lease_seconds: Annotated[int, Field(ge=1, le=3600)] = 60
    """How long a request that died holds its Idempotency-Key; a slow one renews it."""

    metrics_token: Annotated[SecretStr, Field(min_length=32)] | None = None
    """Opens /metrics to Prometheus: 32 characters or more; without it there is no such page."""
    tracing_endpoint: str | None = None
    """A collector of OpenTelemetry's, by OTLP over HTTP: `http://collector:4318`; without it there
    are no spans."""
    tracing_ratio: Annotated[float, Field(ge=0, le=1)] = 1.0
    """The part of the traces that is sent."""
    flower_basic_auth: SecretStr | None = None
    """What Flower asks people for, `user:password`; only its container is told."""
    prometheus_multiproc_dir: Path | None = None
    """Where the API's workers share their figures, emptied at the start; else a new folder."""
    heartbeat_file: Path | None = None
    """A file that worker, scheduler, consumer and relay touch as long as they work."""

    @field_validator("secrets_keys", mode="before")
    @classmethod
    def _split_keys(cls, value: object) -> object:
        return split(value) if isinstance(value, str) else value

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _are_networks(cls, value: object) -> object:
        """A host's address is a network of one; 10.0.0.1/8 is a slip of the pen."""
        return tuple(map(ip_network, split(value))) if isinstance(value, str) else value

    @field_validator("secrets_keys")
    @classmethod
    def _are_fernet_keys(
        cls, keys: tuple[SecretStr, ...], info: ValidationInfo
    ) -> tuple[SecretStr, ...]:
        if not keys and not info.data.get("use_vault"):
            raise ValueError("Field required where USE_VAULT is not true")
        for key in keys:
            Fernet(key.get_secret_value())
            if in_production(info):
                refuse_monotonous(base64.urlsafe_b64decode(key.get_secret_value()))
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
        if debug and in_production(info):
            raise ValueError("production has no debugger")
        return debug

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split_origins(cls, value: object, info: ValidationInfo) -> object:
        if not value and info.data.get("environment") == Environment.DEVELOPMENT:
            return ("http://localhost:3000",)
        return split(value) if isinstance(value, str) else value

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            parts = urlsplit(origin)
            if not parts.netloc or origin != f"{parts.scheme}://{parts.netloc}".lower():
                raise ValueError(f"{origin} is no origin such as https://app.example.com")
        return origins

    @field_validator("public_url", "web_url")
    @classmethod
    def _is_an_origin(cls, url: str | None, info: ValidationInfo) -> str | None:
        if url is None:
            return None
        if not url.startswith(("http://", "https://")):
            raise ValueError("it begins with http:// or https://")
        if in_production(info) and not url.startswith("https://"):
            raise ValueError("it begins with https:// in production")
        return url.rstrip("/")

    @field_validator("tracing_endpoint")
    @classmethod
    def _is_where_a_collector_is(cls, url: str | None) -> str | None:
        if url is not None and not (
            url.startswith(("http://", "https://")) and urlsplit(url).netloc
        ):
            raise ValueError("it is http:// or https:// and a host")
        return url and url.rstrip("/")

    @field_validator("secret_key", "metrics_token")
    @classmethod
    def _is_strong(cls, secret: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if secret is not None and in_production(info):
            refuse_weak(secret.get_secret_value())
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
        if password is not None and in_production(info):
            refuse_weak(password)
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

    @property
    def link_origin(self) -> str:
        """What the links of mails begin with."""
        return self.web_url or self.public_url
