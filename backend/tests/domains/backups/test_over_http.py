"""Backups over HTTP, and by themselves, taken and proven by a real worker."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr
from sqlalchemy import select, update

from app.core import clock
from app.core.db import main_session, platform_session
from app.domains.audit.models import PlatformEntry
from app.domains.backups.models import Backup
from app.domains.backups.service import ordering, upkeep
from app.domains.jobs import service as jobs
from app.domains.jobs.models import Job
from app.domains.jobs.service import rounds
from app.domains.tenants.service import lifecycle
from app.integrations.storage import DiskStorage
from app.settings import Settings
from embedded.valkey import ValkeyServer
from tests.cast import House, Person, new_person
from tests.core.answers import refusal
from tests.core.apps import another_app
from tests.core.live import running_worker
from tests.domains.backups.conftest import Safe
from tests.tenancy.laboratory import until


@pytest.fixture(scope="module")
def petra(safe: Safe) -> Person:
    return new_person(safe.lab.app, "Petra", platform_role="platform_admin")


@pytest.fixture
def address(acme: House) -> str:
    return f"/api/tenants/{acme.id}/backups"


def run_jobs(safe: Safe, house: House) -> None:
    """As a worker does."""
    with platform_session() as session:
        of_house = select(Job.id).where(Job.tenant_id == house.id, Job.name.like("backups.%"))
        jobs = session.scalars(of_house.order_by(Job.id)).all()
    for job_id in jobs:
        safe.lab.app.extensions["celery"].tasks["jobs.run"].apply(kwargs={"job_id": str(job_id)})


def test_ordered_taken_and_proven(safe: Safe, acme: House, petra: Person, address: str) -> None:
    safe.upload(acme, "plans.txt", b"plans")
    answer = petra.post(address)
    assert (answer.status_code, answer.get_json()["state"]) == (202, "requested"), answer.text
    here = answer.headers["Location"]
    assert here == f"{address}/{answer.get_json()['id']}"
    assert refusal(petra.post(address), 409, "backup_in_progress")
    assert refusal(petra.post(f"{here}/proof"), 404, "backup_not_found")

    lifecycle.suspend(safe.lab.manager, tenant_id=acme.id)
    run_jobs(safe, acme)
    taken = petra.get(here).get_json()
    assert (taken["state"], taken["origin"], taken["files"]) == ("complete", "asked", 1)
    assert (taken["proven_at"], taken["proof_failure"]) == (None, None)
    assert petra.post(f"{here}/proof").status_code == 202
    run_jobs(safe, acme)
    lifecycle.resume(safe.lab.manager, tenant_id=acme.id)
    assert petra.get(here).get_json()["proven_at"] is not None
    assert safe.alice.get(f"/api/tenants/{acme.id}").get_json()["last_proven_at"] is not None

    [listed] = safe.alice.get(address).get_json()["items"]
    assert listed == petra.get(here).get_json()
    assert told(acme) == [
        "backup.requested",
        "backup.taken",
        "backup.proof_requested",
        "backup.proven",
    ]


def told(house: House) -> list[str]:
    of_house = select(PlatformEntry.type).where(PlatformEntry.tenant_id == house.id)
    with platform_session() as session:
        types = session.scalars(of_house.order_by(PlatformEntry.id)).all()
    return [each for each in types if each.startswith("backup.")]


def test_owners_look_and_nobody_reads_anothers(
    safe: Safe, acme: House, petra: Person, address: str
) -> None:
    mallory = new_person(safe.lab.app, "Mallory")
    backup_id = safe.take(acme)
    assert [each["id"] for each in items(safe.alice, address)] == [str(backup_id)]
    assert refusal(safe.alice.post(address), 403, "forbidden")
    assert refusal(mallory.get(address), 404)
    assert refusal(mallory.get(f"{address}/{backup_id}"), 404)
    theirs = safe.lab.new_house("globex")
    foreign = f"/api/tenants/{theirs.id}/backups"
    assert items(petra, foreign) == []
    assert refusal(petra.get(f"{foreign}/{backup_id}"), 404, "backup_not_found")
    assert refusal(petra.get(f"{address}/{uuid4()}"), 404, "backup_not_found")


def items(person: Person, address: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = person.get(address).get_json()["items"]
    return found


def test_one_that_no_job_begins_makes_room(
    safe: Safe, acme: House, petra: Person, address: str
) -> None:
    ordered = petra.post(address).get_json()["id"]
    with platform_session() as session:
        assert ordering.give_up_lost(session) == 0
        session.execute(
            update(Backup)
            .where(Backup.id == UUID(ordered))
            .values(created_at=clock.now() - timedelta(days=1))
        )
    with platform_session() as session:
        assert ordering.give_up_lost(session) == 1
    assert petra.get(f"{address}/{ordered}").get_json()["state"] == "failed"
    assert petra.post(address).status_code == 202


def test_the_application_writes_nothing_but_a_wish(safe: Safe, acme: House) -> None:
    backup_id = safe.take(acme)
    with main_session(tenant_id=acme.id) as session:
        assert session.get(Backup, backup_id) is not None
    with main_session() as session:
        assert session.get(Backup, backup_id) is None


def test_a_worker_takes_and_proves_what_is_due(safe: Safe, acme: House, tmp_path: Path) -> None:
    """As the scheduler asks each hour; the work is done in the worker's process alone."""
    if not isinstance(safe.storage, DiskStorage):
        pytest.skip("one store is enough")
    safe.upload(acme, "plans.txt", b"plans")
    with ValkeyServer(tmp_path / "valkey") as redis:
        changes = {"redis_url": SecretStr(redis.url), "backup_every_hours": 24}
        own = safe.lab.settings.model_copy(update=changes)
        with running_worker(own, tmp_path), another_app(own) as sender, sender.app_context():
            ask(own)
            until(lambda: any(each.active for each in backups(acme)), "a backup")
            ask(own)
            until(lambda: any(each.proven_at for each in backups(acme)), "its proof")
            sender.extensions["celery"].pool.force_close_all()
    [backup] = backups(acme)
    assert (backup.origin, backup.state, backup.files) == ("scheduled", "complete", 1)
    assert safe.alice.get(f"/api/tenants/{acme.id}").get_json()["last_proven_at"] is not None


def ask(settings: Settings) -> None:
    with platform_session() as session:
        jobs.schedule(session, "backups.schedule")
    rounds.sweep(settings)


def backups(house: House) -> Sequence[Backup]:
    with platform_session() as session:
        return upkeep.list_backups(session, tenant_id=house.id)
