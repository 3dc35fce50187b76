"""Migrations over HTTP: who may order one, what is told of it, and that a job carries it out."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, update

from app.core import clock
from app.core.db import main_session, platform_session
from app.domains.audit.models import PlatformEntry
from app.domains.fleet.models import MigrationRun
from app.domains.fleet.service import running
from app.domains.jobs.models import Job, JobState
from app.domains.tenants.service import ledger
from app.domains.tenants.service.ledger import FleetEntry
from tests.cast import Person, new_person
from tests.core.answers import refusal
from tests.domains.fleet.conftest import Release, revisions
from tests.domains.fleet.trees import HEAD, after, column
from tests.tenancy.laboratory import Laboratory

Fleet = list[FleetEntry]
MIGRATIONS = "/api/admin/migrations"


@pytest.fixture(scope="module")
def petra(lab: Laboratory) -> Person:
    return new_person(lab.app, "Petra", platform_role="platform_admin")


def run_jobs(lab: Laboratory) -> None:
    """Those of ordered migrations, as a worker does, until there is none."""
    waiting = select(Job.id).where(Job.name == "fleet.migrate", Job.state == JobState.WAITING)
    for _ in range(5):
        with platform_session() as session:
            jobs = session.scalars(waiting).all()
            session.execute(update(Job).where(Job.id.in_(jobs)).values(due_at=clock.now()))
        for job_id in jobs:
            lab.app.extensions["celery"].tasks["jobs.run"].apply(kwargs={"job_id": str(job_id)})
        if not jobs:
            return


def spoil(lab: Laboratory, entry: FleetEntry, statement: str) -> None:
    with lab.manager.server.connect_as_owner(entry.location.database) as connection:
        connection.execute(statement.encode())


def ordered(petra: Person, **order: Any) -> str:
    answer = petra.post(MIGRATIONS, json=order)
    assert answer.status_code == 202, answer.text
    assert answer.get_json()["status"] == "requested"
    address: str = answer.headers["Location"]
    assert address == f"{MIGRATIONS}/{answer.get_json()['id']}"
    return address


def test_nobody_else_orders_or_looks(lab: Laboratory, fleet: Fleet, alice: Person) -> None:
    sam = new_person(lab.app, "Sam", platform_role="support_agent")
    for person in (alice, sam):
        refusal(person.get("/api/admin/fleet"), 403)
        refusal(person.get(MIGRATIONS), 403)
        refusal(person.post(f"{MIGRATIONS}/plan", json={}), 403)
        refusal(person.post(MIGRATIONS, json={}), 403)
    # Nor does the database show or take anything in another's name.
    with main_session(user_id=alice.user_id) as session:
        assert session.scalars(select(MigrationRun)).all() == []
        assert ledger.seen_by_administrator(session) == []


def test_a_plan_changes_nothing(fleet: Fleet, release: Release, petra: Person) -> None:
    release(column("colour"))
    planned = petra.post(f"{MIGRATIONS}/plan", json={"waves": "canary,40%,rest"}).get_json()
    assert planned["target"] == after(1)
    assert [wave["tenants"] for wave in planned["waves"]] == [1, 2, 2]
    shown = {each for wave in planned["waves"] for each in wave["first"]}
    assert shown == {str(entry.tenant_id) for entry in fleet}
    assert any("ADD COLUMN colour TEXT" in text for text in planned["sql"][HEAD])
    state = petra.get("/api/admin/fleet").get_json()
    assert (state["head"], state["tenants"], state["behind"]) == (after(1), 5, 5)
    assert (state["revisions"], state["run"]) == ({HEAD: 5}, None)
    assert revisions() == {HEAD}


def test_what_cannot_be_planned_is_refused(fleet: Fleet, petra: Person) -> None:
    for order in ({"waves": "everybody"}, {"tenant_ids": [str(uuid4())]}):
        for path in (MIGRATIONS, f"{MIGRATIONS}/plan"):
            refusal(petra.post(path, json=order), 422, "bad_migration_order")
    for broken in ({"jobs": 0}, {"max_failures": -1}, {"downgrade_to": HEAD}, {"tenant_ids": [1]}):
        refusal(petra.post(MIGRATIONS, json=broken), 422, "invalid_payload")


def test_an_order_is_carried_out_by_a_job(
    lab: Laboratory, fleet: Fleet, release: Release, petra: Person
) -> None:
    release(column("colour"))
    address = ordered(petra, waves="canary,rest", jobs=2)
    refusal(petra.post(MIGRATIONS, json={}), 409, "migration_in_progress")
    assert petra.get("/api/admin/fleet").get_json()["run"]["status"] == "requested"
    assert revisions() == {HEAD}
    run_jobs(lab)
    told = petra.get(address).get_json()
    assert (told["status"], told["counts"]["succeeded"], told["failure"]) == ("succeeded", 5, None)
    assert told["plan"]["waves"] == ["canary", "rest"]
    assert revisions() == {after(1)}
    assert petra.get(MIGRATIONS).get_json()["items"][0]["id"] == told["id"]
    refusal(petra.post(f"{address}/resume"), 409, "migration_not_resumable")
    with platform_session() as session:
        trail = session.scalars(
            select(PlatformEntry).where(PlatformEntry.target == told["id"]).order_by("id")
        ).all()
    assert [each.type for each in trail] == ["fleet.migration_ordered", "fleet.migration_ended"]
    assert trail[0].user_id == petra.user_id


def test_results_come_in_pages(
    lab: Laboratory, fleet: Fleet, release: Release, petra: Person
) -> None:
    release(column("size_in_words"))
    results = ordered(petra, waves="2,rest") + "/results"
    run_jobs(lab)
    found, cursor, pages = [], None, 0
    while cursor is not None or not pages:
        query = {"limit": 2} | ({} if cursor is None else {"cursor": cursor})
        page = petra.get(results, query_string=query).get_json()
        found += page["items"]
        cursor, pages = page["next_cursor"], pages + 1
    assert (pages, len(found)) == (3, 5)
    assert [each["wave"] for each in found] == [0, 0, 1, 1, 1]
    assert {each["tenant_id"] for each in found} == {str(each.tenant_id) for each in fleet}
    first = petra.get(results, query_string={"limit": 2}).get_json()["next_cursor"]
    refusal(petra.get(results, query_string={"cursor": first, "status": "failed"}), 422)
    assert petra.get(results, query_string={"status": "failed"}).get_json()["items"] == []
    refusal(petra.get(f"{MIGRATIONS}/{uuid4()}/results"), 404, "migration_run_not_found")


def test_what_failed_is_told_and_resumed(
    lab: Laboratory, fleet: Fleet, release: Release, petra: Person
) -> None:
    release(column("colour"))
    spoil(lab, fleet[0], "ALTER TABLE documents ADD COLUMN colour int")
    address = ordered(petra)
    run_jobs(lab)
    assert petra.get(address).get_json()["status"] == "failed"
    [failed] = petra.get(f"{address}/results?status=failed").get_json()["items"]
    assert failed["tenant_id"] == str(fleet[0].tenant_id)
    assert "DuplicateColumn" in failed["error"]
    spoil(lab, fleet[0], "ALTER TABLE documents DROP COLUMN colour")
    assert petra.post(f"{address}/resume").get_json()["status"] == "requested"
    run_jobs(lab)
    assert petra.get(address).get_json()["status"] == "succeeded"
    assert revisions() == {after(1)}


def test_a_run_longer_than_a_job_goes_on_in_the_next(
    lab: Laboratory, fleet: Fleet, release: Release, petra: Person
) -> None:
    release(column("colour"))
    address = ordered(petra)
    run_id = UUID(address.rpartition("/")[2])
    assert not running.carry_on(lab.manager, run_id, seconds=0)
    assert petra.get(address).get_json()["status"] == "running"
    assert revisions() == {HEAD}
    assert running.carry_on(lab.manager, run_id, seconds=60)
    assert petra.get(address).get_json()["counts"]["succeeded"] == 5
    assert running.carry_on(lab.manager, run_id, seconds=0)  # what is over stays so
    run_jobs(lab)


def test_an_order_of_migrations_that_fail_on_an_empty_database_fails(
    lab: Laboratory, fleet: Fleet, release: Release, petra: Person
) -> None:
    release(column("name"))
    address = ordered(petra)
    run_jobs(lab)
    told = petra.get(address).get_json()
    assert told["status"] == "failed"
    assert "DuplicateColumn" in told["failure"]
    assert revisions() == {HEAD}
