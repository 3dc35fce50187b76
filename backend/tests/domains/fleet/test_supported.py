"""Which schema which code serves: the head, what it can wait for, and what was announced to it."""

from uuid import UUID

import pytest

from app.core.db import platform_session
from app.domains.tenants.service import ledger
from app.tenancy import migrations
from app.tenancy.migrations import tree
from app.tenancy.migrations.tree import UnknownRevision
from tests.cast import House, Person, new_house
from tests.domains.fleet.conftest import Release, migrate, remove_fleet
from tests.domains.fleet.trees import HEAD, after, column, released
from tests.tenancy.laboratory import Laboratory

OLD = tree.TENANT


@pytest.fixture
def house(lab: Laboratory, alice: Person) -> House:
    return new_house("acme", alice)


def test_the_head_and_what_the_code_can_wait_for(release: Release) -> None:
    assert release(column("a")).supported == {after(1)}
    waits = "code_can_wait = True"
    assert release(column("a"), column("b", attributes=waits)).supported == {after(1), after(2)}
    assert release(column("a", attributes=waits), column("b")).supported == {after(2)}
    both = release(column("a", attributes=waits), column("b", attributes=waits))
    assert both.supported == migrations.supported() == OLD.supported | {after(1), after(2)}
    assert HEAD in OLD.supported


def test_the_oldest_code_is_that_of_the_last_breaking_revision(release: Release) -> None:
    breaks = "breaks_older_code = True"
    made = release(column("a"), column("b", attributes=breaks), column("c"))
    first, broken = made.revisions[0].id, after(2)
    assert [made.oldest_code(after(number)) for number in range(4)] == [
        first,
        first,
        broken,
        broken,
    ]


def test_an_unknown_revision_has_no_place(release: Release) -> None:
    with pytest.raises(UnknownRevision):
        release(column("a")).place("0815")


def status(person: Person, house: House) -> tuple[int, str]:
    answer = person.get(house.documents)
    return answer.status_code, answer.get_json().get("code", "")


def test_older_code_goes_on_serving_what_expands(
    lab: Laboratory, alice: Person, house: House, release: Release
) -> None:
    """Migrate first, then deploy: the processes of the release before meet a newer schema."""
    release(column("colour"))
    migrate(lab)
    with released(OLD):
        assert status(alice, house) == (200, "")
    remove_fleet(lab)


def test_older_code_answers_503_where_the_schema_broke_it(
    lab: Laboratory, alice: Person, house: House, release: Release
) -> None:
    other = new_house("globex", alice)
    release(column("colour", attributes="breaks_older_code = True"))
    migrate(lab, tenant_ids=(house.id,))
    with released(OLD):
        assert status(alice, house) == (503, "tenant_not_ready")
        assert status(alice, other) == (200, "")
    assert status(alice, house) == (200, "")
    assert status(alice, other) == (503, "tenant_not_ready")
    remove_fleet(lab)


def test_a_revision_that_nobody_announced_is_not_served(
    lab: Laboratory, alice: Person, house: House
) -> None:
    write_revision(house.id, "0777")
    assert status(alice, house) == (503, "tenant_not_ready")
    with platform_session() as session:
        ledger.announce(session, {"0777": "0776"})
    assert status(alice, house) == (503, "tenant_not_ready")
    with platform_session() as session:
        ledger.announce(session, {"0777": HEAD})
    assert status(alice, house) == (200, "")
    remove_fleet(lab)


def write_revision(tenant_id: UUID, revision: str) -> None:
    with platform_session() as session:
        assert ledger.write_revisions(session, {tenant_id: revision}) == {tenant_id}
