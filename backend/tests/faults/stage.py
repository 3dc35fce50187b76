"""The whole product, ready to be broken: servers, proxies, processes, tenants, a way to look in."""

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psycopg
from flask import Flask
from pydantic import SecretStr

from app.core import openapi
from app.core.catalogue import TOPICS
from app.integrations import storage
from app.integrations.kafka import ensure_topics
from app.settings import Settings
from app.tenancy.names import Installation
from embedded.ports import free_port
from tests.cast import initialise, new_house, new_person
from tests.conftest import make_settings
from tests.core.apps import another_app, unconnected_app
from tests.domains.documents.test_killed_uploads import sign_in
from tests.faults import servers
from tests.faults.journal import Journal, Tenant
from tests.faults.programs import Programs
from tests.faults.servers import Servers
from tests.faults.watch import Watch
from tests.faults.writers import writing
from tests.integrations.stores import s3_settings

_OWNERS: Final = {"acme": "Alice", "globex": "Mallory", "initech": "Ada", "umbrella": "Ursula"}
_DATABASES: Final = (
    "database_url",
    "database_owner_url",
    "database_platform_url",
    "provisioner_url",
)


@dataclass
class Stage:
    """``app`` looks at the servers themselves; the programs see them through the proxies."""

    servers: Servers
    programs: Programs
    app: Flask
    settings: Settings
    tenants: list[Tenant]
    watch: Watch
    documented: dict[str, set[int]] = field(default_factory=dict)

    @contextmanager
    def load(self, **how: Any) -> Iterator[Journal]:
        """Writers of every tenant, for the time of the block."""
        with writing(self.programs.url, self.tenants, **how) as journal:
            yield journal

    def as_superuser(self, database: str = "postgres") -> "psycopg.Connection[Any]":
        return psycopg.connect(
            self.servers.postgres.admin_url, dbname=database, autocommit=True, connect_timeout=5
        )

    @property
    def databases(self) -> list[str]:
        """The main one, and every tenant's."""
        return [self.settings.installation_id, *(each.house.database for each in self.tenants)]

    @property
    def secrets(self) -> set[str]:
        """What is nobody's to read in answers and logs."""
        values = {value for _, value in self.settings if isinstance(value, SecretStr)}
        values |= set(self.settings.secrets_keys)
        found = {value.get_secret_value() for value in values}
        return {_password(each) for each in found if len(_password(each)) > 8}


def _password(value: str) -> str:
    """Of a URL, its password; else the value itself."""
    account = value.partition("://")[2].partition("@")[0]
    return account.partition(":")[2] or value


@contextmanager
def staged(folder: Path) -> Iterator[Stage]:
    """Everything runs, and every tenant has been written to."""
    with ExitStack() as stack:
        real = stack.enter_context(servers.running(folder))
        settings = _settings(real, folder)
        storage.prepare(settings)
        ensure_topics(settings, TOPICS, add_partitions=False, check=False)
        app = stack.enter_context(another_app(settings))
        initialise(app)
        with app.app_context():
            tenants = [_tenant(app, name, owner) for name, owner in _OWNERS.items()]
        port = free_port()
        through = _through_proxies(real, settings, port)
        programs = Programs(through, folder / "programs", port=port)
        stack.callback(programs.stop)
        programs.start()
        stack.enter_context(app.app_context())
        for tenant in tenants:
            _sign_in(programs.url, tenant)
        watch = stack.enter_context(Watch(lambda: programs.url))
        yield Stage(real, programs, app, settings, tenants, watch, _documented())


def _settings(real: Servers, folder: Path) -> Settings:
    urls = {"postgres": real.postgres.admin_url, "redis": real.redis.url}
    own = f"t{secrets.token_hex(4)}"
    return make_settings(
        urls,
        Installation(own),
        folder / "unused",
        **s3_settings(real.s3.url),
        enable_kafka_events=True,
        kafka_bootstrap_servers=(real.proxies["kafka"].address,),
        kafka_timeout=2.0,
        topic_prefix=own,
        topic_partitions=4,
        consumer_group=own,
        rate_limits=False,
        main_pool_size=8,
        tenant_connection_budget=8,
        process_count=8,
        connect_timeout=3,
        job_sweep_seconds=1.0,
        job_lease_seconds=5.0,
        job_back_off_seconds=0.5,
        event_back_off_seconds=0.2,
        outbox_sweep_seconds=0.2,
    )


def _through_proxies(real: Servers, settings: Settings, port: int) -> Settings:
    changes: dict[str, Any] = {"public_url": f"http://127.0.0.1:{port}"}
    for name in _DATABASES:
        url = getattr(settings, name).get_secret_value()
        changes[name] = SecretStr(real.through_proxy("postgres", url))
    url = settings.redis_url.get_secret_value()
    changes["redis_url"] = SecretStr(real.through_proxy("redis", url))
    changes["s3_endpoint_url"] = real.proxies["s3"].url
    return settings.model_copy(update=changes)


def _tenant(app: Flask, name: str, owner: str) -> Tenant:
    person = new_person(app, owner)
    return Tenant(new_house(name, person), person, f"canary{secrets.token_hex(6)}")


def _sign_in(url: str, tenant: Tenant) -> None:
    """At the programs: their address is part of their tokens."""
    tenant.person.tokens["access_token"] = sign_in(url, tenant.person)


def _documented() -> dict[str, set[int]]:
    """The statuses that the contract names, by method and path."""
    paths = openapi.generate(unconnected_app())["paths"]
    return {
        f"{method.upper()} {path}": {int(code) for code in operation["responses"] if code.isdigit()}
        for path, item in paths.items()
        for method, operation in item.items()
    }
