"""Fixtures of the tenancy's tests: one installation to look at and one to break."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from flask import Flask

from app.domains.tenants.service.directory import TenantRegistry
from app.settings import Settings
from app.tenancy.locations import TenantLocation
from app.tenancy.manager import TenantDatabaseManager
from tests.cast import Cast
from tests.tenancy.laboratory import Laboratory, laboratory
from tests.tenancy.pools import MakeManager, check_at_rest
from tests.tenancy.processes import Understudy, understudy


@pytest.fixture(scope="session")
def house(app: Flask, settings: Settings, admin_url: str) -> Laboratory:
    """The worker's own installation, where the cast lives: to look at, not to break."""
    return Laboratory(app, settings, admin_url)


@pytest.fixture(scope="session")
def lab(
    server_urls: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Laboratory]:
    """A second installation on the same server: to break."""
    with laboratory(server_urls, tmp_path_factory.mktemp("lab")) as made:
        yield made


@pytest.fixture(scope="session")
def acme(house: Laboratory, cast: Cast) -> TenantLocation:
    with house.app.app_context():
        return TenantRegistry().locate_tenant(cast.acme.id)


@pytest.fixture(scope="session")
def globex(house: Laboratory, cast: Cast) -> TenantLocation:
    with house.app.app_context():
        return TenantRegistry().locate_tenant(cast.globex.id)


@pytest.fixture(scope="session")
def tenants(lab: Laboratory) -> list[TenantLocation]:
    """Six databases to fill a pool with."""
    return [lab.new_database(f"tenant-{number}") for number in range(6)]


@pytest.fixture(scope="session")
def other_process(lab: Laboratory) -> Iterator[Understudy]:
    """A second process of the installation that may be broken."""
    with understudy(lab) as process:
        yield process


@pytest.fixture
def make_manager(lab: Laboratory) -> Iterator[MakeManager]:
    """Makes managers whose books must balance when the test is over."""
    with ExitStack() as stack:

        def make(
            *, budget: int = 4, each: int = 2, wait: float, queue: int = 2
        ) -> TenantDatabaseManager:
            manager = lab.another_manager(
                tenant_connection_budget=budget,
                tenant_connections_per_tenant=each,
                tenant_connection_wait=wait,
                tenant_waiters_per_tenant=queue,
            )
            stack.callback(_close_down, manager)
            return manager

        yield make


def _close_down(manager: TenantDatabaseManager) -> None:
    check_at_rest(manager.pool)
    manager.pool.dispose()
    assert manager.pool.open_connections() == 0
