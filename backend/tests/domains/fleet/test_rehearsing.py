"""A rehearsal: on copies of the largest tenants, with their rows; nobody's sessions are touched."""

import pytest
from sqlalchemy import text

from app.domains.fleet.service import rehearsing
from app.domains.fleet.service.planning import Order
from app.domains.tenants.service.ledger import FleetEntry
from app.tenancy import templates
from app.tenancy.inspection import take_inventory
from tests.domains.fleet.conftest import Release, revisions
from tests.domains.fleet.trees import HEAD, Migration, column
from tests.tenancy.laboratory import Laboratory

_ROWS = """
    INSERT INTO files (id, key, state, digest, size, created_at, updated_at)
    SELECT gen_random_uuid(), 'key ' || n, 'available', 'd' || n, n, now(), now()
    FROM generate_series(1, 2000) n;
    INSERT INTO documents
        (id, file_id, name, folded_name, content_type, size, owner_id, created_at, updated_at)
    SELECT gen_random_uuid(), id, 'plan 100%', 'plan 100%', 'text/plain', 0, gen_random_uuid(),
           now(), now()
    FROM files
"""


@pytest.fixture
def largest(lab: Laboratory, fleet: list[FleetEntry]) -> FleetEntry:
    with lab.manager.server.connect_as_owner(fleet[2].location.database) as connection:
        connection.execute(_ROWS)
    return fleet[2]


def scratch_databases(lab: Laboratory) -> set[str]:
    with lab.as_superuser() as superuser:
        rows = superuser.execute("SELECT datname FROM pg_database").fetchall()
    return {name for (name,) in rows if lab.installation.is_scratch(name)}


def test_the_largest_is_copied_while_it_is_in_use(
    lab: Laboratory, largest: FleetEntry, release: Release
) -> None:
    release(column("colour"))
    with lab.manager.tenant_db_session(largest.location) as session:
        session.execute(text("UPDATE documents SET name = 'open transaction'"))
        [rehearsed] = rehearsing.rehearse(lab.manager, Order(), largest=1)
    assert rehearsed.database == largest.location.database
    assert rehearsed.error is None
    assert rehearsed.size > 8_000_000
    assert revisions() == {HEAD}
    assert scratch_databases(lab) == set()


def test_the_copy_holds_the_rows(lab: Laboratory, largest: FleetEntry) -> None:
    server = lab.manager.server
    with (
        server.connect_as_owner(largest.location.database) as original,
        templates.scratch(server, HEAD) as name,
    ):
        rehearsing.copy_rows(original, server, name)
        with server.connect_as_owner(name) as copy:
            for table in ("documents", "files"):
                query = f"SELECT md5(string_agg(t::text, '|' ORDER BY id)) FROM {table} t"
                assert (
                    copy.execute(query.encode()).fetchone()
                    == original.execute(query.encode()).fetchone()
                )
            keys = "SELECT conname, convalidated FROM pg_constraint WHERE contype = 'f' ORDER BY 1"
            found = copy.execute(keys).fetchall()
            assert found == original.execute(keys).fetchall()
            assert all(validated for _, validated in found)


def test_what_would_fail_fails_in_the_rehearsal(
    lab: Laboratory, largest: FleetEntry, release: Release
) -> None:
    release(
        Migration(
            'op.execute("ALTER TABLE documents ADD CONSTRAINT u UNIQUE (name)")',
            attributes='unsafe_reason = "a test"',
        )
    )
    outcomes = list(rehearsing.rehearse(lab.manager, Order(), largest=2))
    errors = [each.error for each in outcomes]
    assert errors == ['UniqueViolation: could not create unique index "u"', None]
    assert revisions() == {HEAD}
    assert scratch_databases(lab) == set()


def test_what_a_killed_rehearsal_left_is_dropped_by_the_next(
    lab: Laboratory, fleet: list[FleetEntry], release: Release
) -> None:
    release(column("colour"))
    with lab.as_superuser() as superuser:
        left = lab.installation.scratch(fleet[0].tenant_id)
        owner = lab.installation.schema_owner
        superuser.execute(f'CREATE DATABASE "{left}" OWNER {owner}'.encode())
    with templates.scratch(lab.manager.server, HEAD) as in_use:
        list(rehearsing.rehearse(lab.manager, Order(), largest=1))
        assert scratch_databases(lab) == {in_use}
    assert not any(
        lab.installation.is_scratch(n) for n in take_inventory(lab.manager.server).databases
    )
