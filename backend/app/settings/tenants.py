"""How many connections, jobs and tenants there may be, and how tenants are named."""

import base64
import re
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import NoDecode

from app.settings.rules import Group, in_production, refuse_monotonous, split

# Lower-case labels of RFC 1035, at least two.
_DOMAIN: Final = r"^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]$"
_SERVER: Final = re.compile(
    r"(?:(?P<v4>[\d.]+)|\[(?P<v6>[\da-f:]+)\])(?::\d{1,5})?\Z|(?P<bare>[\da-f:]+)\Z"
)
_SEED_BYTES: Final = 32
# Beside what is usual: the hosts that autoconfiguration of mail and proxies asks, unasked, and
# the local parts to which certificates are sent (RFC 2142, CA/Browser Forum 3.2.2.4.4).
_RESERVED_SLUGS: Final = (
    *("account", "admin", "administrator", "api", "app", "assets", "auth", "autoconfig"),
    *("autodiscover", "billing", "blog", "cdn", "console", "current", "docs", "files", "ftp"),
    *("help", "hostmaster", "imap", "localhost", "login", "mail", "ns1", "ns2", "oauth"),
    *("platform", "pop", "postmaster", "root", "security", "smtp", "sso", "static", "status"),
    *("support", "tenantry", "webmaster", "wpad", "www"),
)


class Tenants(Group):
    main_pool_size: Annotated[int, Field(ge=1, le=200)] = 10
    """Connections to the main database, per process."""
    prepared_statements: bool = True
    """Whether the driver keeps statements prepared on the servers' side. False behind a pooler that
    gives each transaction another connection and does not know them (PgBouncer before 1.21)."""
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
    process_count: Annotated[int, Field(ge=1, le=1100)] = Field(
        default_factory=lambda known: known["api_workers"] + known["processes_beside"]
    )
    """Processes that connect at the same time; unset, `API_WORKERS` + `PROCESSES_BESIDE`. With
    several gunicorns, say it yourself."""
    connect_timeout: Annotated[int, Field(ge=2, le=60)] = 5
    """Seconds for a connection to be made, or to come free in the main pool."""
    opaque_database_names: bool = False
    """Names new tenants' databases `tenant_{uuid}`, without the slug."""

    tenant_pool_size: Annotated[int, Field(ge=0, le=500)] = 0
    """Databases that are kept ready for new tenants, so that creating one does not wait; 8 MB
    each. 0: each is made when it is asked for."""

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
    reserved_slugs: Annotated[tuple[str, ...], NoDecode] = _RESERVED_SLUGS
    """Slugs that no new tenant gets, separated by commas: names that hosts of the product have."""
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

    fleet_jobs: Annotated[int, Field(ge=1, le=100)] = 4
    """Tenants migrated, inspected or audited at the same time."""
    migration_lock_timeout_ms: Annotated[int, Field(ge=10)] = 2_000
    """How long a migration waits for a lock, and makes others wait behind it."""
    migration_statement_timeout_ms: Annotated[int, Field(ge=100)] = 15 * 60_000
    """Longest statement of a migration."""
    migration_attempts: Annotated[int, Field(ge=1, le=100)] = 8
    """Goes at a tenant whose locks are taken or whose connection breaks."""
    report_signing_key: SecretStr | None = None
    """URL-safe base64 of 32 random bytes: the seed of the Ed25519 key that signs audit reports."""

    @field_validator("dns_servers", "reserved_slugs", mode="before")
    @classmethod
    def _split_lists(cls, value: object) -> object:
        return split(value) if isinstance(value, str) else value

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

    @field_validator("report_signing_key")
    @classmethod
    def _is_a_seed(cls, key: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if key is not None:
            seed = base64.urlsafe_b64decode(key.get_secret_value())
            if len(seed) != _SEED_BYTES:
                raise ValueError("it is the URL-safe base64 of 32 bytes")
            if in_production(info):
                refuse_monotonous(seed)
        return key

    @field_validator("process_count")
    @classmethod
    def _counts_the_api(cls, count: int, info: ValidationInfo) -> int:
        workers = info.data.get("api_workers", 0)
        if count < workers:
            raise ValueError(f"API_WORKERS = {workers} alone are more")
        return count

    @model_validator(mode="after")
    def _connections_fit_the_role(self) -> Self:
        needed = self.tenant_connections_per_tenant * self.process_count
        if needed > self.tenant_role_connection_limit:
            raise ValueError(
                f"TENANT_CONNECTIONS_PER_TENANT x PROCESS_COUNT = {needed} exceeds "
                f"TENANT_ROLE_CONNECTION_LIMIT = {self.tenant_role_connection_limit}",
            )
        return self
