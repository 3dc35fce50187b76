"""Kill -9 at any moment of a migration, then resume: every schema is as a fresh one."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.domains.fleet.errors import NothingToResume
from app.domains.fleet.models import RunStatus
from app.domains.fleet.service import running
from app.domains.fleet.service.planning import Order
from app.domains.tenants.service.ledger import FleetEntry
from app.tenancy import migrations, templates
from app.tenancy.inspection.catalog import fingerprint, read_catalog
from app.tenancy.migrations import applying
from app.tenancy.migrations.tree import Tree
from tests.cast import Person
from tests.domains.fleet.conftest import entries, new_fleet, remove_fleet, revisions
from tests.domains.fleet.trees import Migration, column, grow, released
from tests.tenancy.laboratory import Laboratory
from tests.tenancy.processes import Understudy, understudy

_MIGRATIONS = (
    column("colour"),
    Migration(
        "op.execute(\"COMMENT ON TABLE documents IS '100%'\")", attributes="per_tenant = True"
    ),
    Migration(
        """
        op.create_index("ix_documents_shown_name", "documents", ["name"],
                        postgresql_concurrently=True, if_not_exists=True)
        """,
        attributes="autocommit = True",
    ),
    Migration(
        """
        op.execute("ALTER TABLE documents ADD CONSTRAINT ck_documents_named"
                   " CHECK (name <> '') NOT VALID")
        op.add_column("files", sa.Column("origin", sa.Text(), server_default="upload"))
        """
    ),
)

OLD = migrations.tree.TENANT


@pytest.fixture(scope="module")
def doomed(lab: Laboratory) -> Iterator[Understudy]:
    with understudy(lab) as process:
        yield process


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    with released(grow(tmp_path / "tree", *_MIGRATIONS)) as made:
        yield made


def print_of(lab: Laboratory, database: str) -> tuple[str | None, str]:
    with lab.manager.server.connect_as_owner(database) as connection:
        return applying.read_version(connection), fingerprint(read_catalog(connection))


def prints(lab: Laboratory, fleet: list[FleetEntry]) -> set[tuple[str | None, str]]:
    return {print_of(lab, entry.location.database) for entry in fleet}


def fresh(lab: Laboratory) -> tuple[str | None, str]:
    with templates.scratch(lab.manager.server, migrations.head()) as name:
        return print_of(lab, name)


def resume_to_the_end(lab: Laboratory) -> None:
    try:
        assert running.resume(lab.manager, tell=lambda _: None).status is RunStatus.SUCCEEDED
    except NothingToResume:
        running.start(lab.manager, Order(), tell=lambda _: None)


@pytest.mark.slow
def test_one_tenant_killed_all_along(
    lab: Laboratory, alice: Person, doomed: Understudy, tree: Tree
) -> None:
    """A tenant for each kill: the ledger never claims more than the database has."""
    templates.ensure(lab.manager.server)
    expected = fresh(lab)
    step, died = -2, True
    while died:
        step += 3
        with released(OLD):
            [entry] = new_fleet(lab, alice, 1)
        died = doomed.dies("migrate_fleet", at=step, tree=tree.folder, jobs=1)
        [ledger] = entries()
        at, _ = print_of(lab, entry.location.database)
        assert tree.place(ledger.revision) <= tree.place(at), f"killed at {step}"
        resume_to_the_end(lab)
        assert print_of(lab, entry.location.database) == expected, f"killed at {step}"
        assert revisions() == {tree.head}
        remove_fleet(lab)
    assert step > 25


@pytest.mark.slow
def test_twenty_kills_over_twenty_tenants(
    lab: Laboratory, alice: Person, doomed: Understudy, tree: Tree
) -> None:
    """Each kill falls on the resumption of the one before."""
    with released(OLD):
        fleet = new_fleet(lab, alice, 20)
    chance = random.Random(17)
    died = 0
    while died < 20:
        if revisions() == {tree.head}:  # nobody is left for the next one to be killed at
            with released(OLD):
                fleet += new_fleet(lab, alice, 4)
        died += doomed.dies("migrate_fleet", at=chance.randint(20, 60), tree=tree.folder, jobs=4)
    resume_to_the_end(lab)
    assert prints(lab, fleet) == {fresh(lab)}
    assert revisions() == {tree.head}
    remove_fleet(lab)
