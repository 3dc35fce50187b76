"""What failed uploads and lost jobs leave behind, and who clears it away."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from flask import Flask, current_app
from sqlalchemy import delete, select, update

from app.core import clock
from app.core.db import platform_session
from app.domains.documents.models import File
from app.domains.documents.service import files
from app.domains.jobs.models import Job
from app.settings import Settings
from app.tenancy.manager import current_manager
from tests.cast import House, Person, new_house, new_person
from tests.core.answers import refusal
from tests.domains.documents.files import delete_for_good, stored, upload
from tests.domains.documents.test_uploads import HEAD, TAIL, send_stream

Sweep = Callable[[], int]


@pytest.fixture(scope="module")
def owner(app: Flask) -> Person:
    with app.app_context():
        return new_person(app, "Alice")


@pytest.fixture
def house(context: Flask, owner: Person) -> House:
    return new_house("sweep", owner)


@pytest.fixture
def sweep(context: Flask, house: House) -> Sweep:
    def run() -> int:
        with current_manager().tenant_db_session(house.database) as session:
            return files.sweep_files(session, current_app.extensions["storage"])

    return run


def states(house: House) -> dict[UUID, str]:
    with current_manager().tenant_db_session(house.database) as session:
        return {file.id: file.state for file in session.scalars(select(File))}


def a_day_passes(house: House) -> None:
    before = clock.now() - timedelta(hours=25)
    with current_manager().tenant_db_session(house.database) as session:
        session.execute(update(File).values(updated_at=before))


def test_a_failed_upload_leaves_a_row_for_the_sweep(
    settings: Settings, owner: Person, house: House, sweep: Sweep
) -> None:
    refusal(send_stream(owner, house, [HEAD, b"x" * 1000], None), 400)
    assert list(states(house).values()) == ["pending"]
    assert sweep() == 0, "it may still be on its way"
    a_day_passes(house)
    assert sweep() == 1
    assert states(house) == {}
    assert stored(settings, house) == set()


def part_of(path: Path) -> Path:
    return path.with_suffix(".part")


def test_a_process_that_died_in_an_upload_leaves_nothing(
    settings: Settings, owner: Person, house: House, sweep: Sweep
) -> None:
    """Its bytes lie in a file of which nobody but the pending row knows."""
    refusal(send_stream(owner, house, [HEAD], None), 400)
    with current_manager().tenant_db_session(house.database) as session:
        key = session.scalars(select(File.key)).one()
    path = settings.storage_path / key
    path.parent.mkdir(parents=True, exist_ok=True)
    part_of(path).write_bytes(b"half of it")
    a_day_passes(house)
    assert sweep() == 1
    assert stored(settings, house) == set()


def test_a_process_that_died_behind_the_upload_leaves_nothing(
    settings: Settings, owner: Person, house: House, sweep: Sweep
) -> None:
    """All bytes arrived, and nobody said that they did."""
    upload(owner, house)
    with current_manager().tenant_db_session(house.database) as session:
        file = session.scalars(select(File)).one()
    left = File(key=file.key.replace("/files/", "/files/left/"), state="pending")
    path = settings.storage_path / left.key
    path.parent.mkdir(parents=True)
    path.write_bytes(b"whole, and nobody's")
    with current_manager().tenant_db_session(house.database) as session:
        session.add(left)
    a_day_passes(house)
    assert sweep() == 1
    assert stored(settings, house) == {settings.storage_path / file.key}
    assert list(states(house).values()) == ["available"]


def test_a_lost_job_is_made_up_for(
    settings: Settings, owner: Person, house: House, sweep: Sweep
) -> None:
    document = upload(owner, house)
    delete_for_good(owner, house, document["id"])
    assert list(states(house).values()) == ["deleting"]
    assert sweep() == 0, "its job may still be on its way"
    a_day_passes(house)
    assert sweep() == 1
    assert stored(settings, house) == set()


def test_what_is_in_use_is_never_swept(
    settings: Settings, owner: Person, house: House, sweep: Sweep
) -> None:
    document = upload(owner, house, b"old and loved")
    a_day_passes(house)
    assert sweep() == 0
    path = f"{house.documents}/{document['id']}/download"
    assert owner.get(path).data == b"old and loved"


def test_an_upload_that_takes_days_is_not_half_there(
    settings: Settings, owner: Person, house: House, sweep: Sweep
) -> None:
    def parts() -> Iterator[bytes]:
        yield HEAD
        yield b"x" * 200_000
        a_day_passes(house)
        assert sweep() == 1
        yield TAIL

    answer = send_stream(owner, house, parts(), None)
    assert answer.status_code in {404, 503}, answer.text
    assert states(house) == {}
    assert stored(settings, house) == set()
    assert owner.get(house.documents).get_json()["items"] == []


def test_a_sweep_of_many(owner: Person, house: House, sweep: Sweep) -> None:
    for _ in range(5):
        refusal(send_stream(owner, house, [HEAD], None), 400)
    kept = upload(owner, house)
    a_day_passes(house)
    assert sweep() == 5
    assert sweep() == 0
    assert owner.get(f"{house.documents}/{kept['id']}").status_code == 200


def promised(house: House) -> list[tuple[UUID, datetime]]:
    """The sweeps of the tenant that the table of jobs holds."""
    with platform_session() as session:
        statement = select(Job.id, Job.due_at).where(
            Job.tenant_id == house.id, Job.name == "documents.sweep_files", Job.state == "waiting"
        )
        return [(job_id, due_at) for job_id, due_at in session.execute(statement)]


def test_an_upload_has_its_tenant_swept_once_it_must_be_over(owner: Person, house: House) -> None:
    assert promised(house) == []
    refusal(send_stream(owner, house, [HEAD], None), 400)
    ((_, due_at),) = promised(house)
    assert due_at > clock.now() + timedelta(days=2)
    upload(owner, house)
    assert len(promised(house)) == 1, "one for all of a day"


def test_the_promised_sweep_makes_up_for_lost_jobs(
    context: Flask, settings: Settings, owner: Person, house: House
) -> None:
    document = upload(owner, house)
    with platform_session() as session:  # as if it had been uploaded on another day
        session.execute(delete(Job).where(Job.tenant_id == house.id))
    delete_for_good(owner, house, document["id"])
    ((job_id, _),) = promised(house)
    a_day_passes(house)
    with platform_session() as session:
        session.execute(update(Job).where(Job.id == job_id).values(due_at=clock.now()))
    context.extensions["celery"].tasks["jobs.run"].apply(kwargs={"job_id": str(job_id)}).get()
    assert promised(house) == []
    assert states(house) == {}
    assert stored(settings, house) == set()
