"""Installations with a few tenants each, and trees of migrations to bring them through."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from app.core import ids
from app.core.db import platform_session
from app.domains.fleet.service import running
from app.domains.fleet.service.planning import Order
from app.domains.tenants.service import deletion, ledger, lifecycle
from app.domains.tenants.service.ledger import FleetEntry
from app.integrations.storage import current_storage
from app.tenancy.migrations.tree import Tree
from tests.cast import Person, new_person
from tests.domains.fleet.trees import grow, released
from tests.tenancy.laboratory import Laboratory, laboratory

Release = Callable[..., Tree]


@pytest.fixture(scope="module")
def lab(
    server_urls: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Laboratory]:
    """An installation of the module's own, with its application context."""
    with (
        laboratory(
            server_urls,
            tmp_path_factory.mktemp("lab"),
            migration_lock_timeout_ms=100,
            migration_attempts=4,
        ) as made,
        made.app.app_context(),
    ):
        yield made


@pytest.fixture(scope="module")
def alice(lab: Laboratory) -> Person:
    return new_person(lab.app, "Alice")


@pytest.fixture
def fleet(lab: Laboratory, alice: Person) -> Iterator[list[FleetEntry]]:
    """Five tenants at the product's head, gone after the test."""
    yield new_fleet(lab, alice, 5)
    remove_fleet(lab)


@pytest.fixture
def release(tmp_path: Path) -> Iterator[Release]:
    """Makes this process run code with further migrations, until the test ends."""
    numbers = count(1)
    with ExitStack() as stack:
        yield lambda *migrations: stack.enter_context(
            released(grow(tmp_path / f"tree-{next(numbers)}", *migrations))
        )


def new_fleet(lab: Laboratory, owner: Person, count: int) -> list[FleetEntry]:
    made = {
        lifecycle.create_tenant(
            lab.manager,
            name="Acme",
            slug=f"f{number}-{ids.new_id().hex[-8:]}",
            owner_id=owner.user_id,
        ).id
        for number in range(count)
    }
    return [entry for entry in entries() if entry.tenant_id in made]


def remove_fleet(lab: Laboratory) -> None:
    for entry in entries():
        deletion.purge(lab.manager, current_storage(), tenant_id=entry.tenant_id)


def entries() -> list[FleetEntry]:
    with platform_session() as session:
        return list(ledger.with_database(session))


def revisions() -> set[str | None]:
    """What the ledger says of all tenants."""
    return {entry.revision for entry in entries()}


def migrate(lab: Laboratory, **order: object) -> running.Ended:
    """A run whose progress nobody watches."""
    return running.start(lab.manager, Order(**order), tell=lambda _: None)  # type: ignore[arg-type]
