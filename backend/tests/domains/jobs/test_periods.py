"""Periodic work: one job in each period, however many schedulers there are."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import delete, func, insert, select, update

from app.core import clock, ids
from app.core.db import MainSession, main_session, platform_session
from app.core.tasks import DEFINITIONS, LONGEST_PERIOD, PERIODIC, periodic
from app.domains.identity.models import RefreshToken, UserSession
from app.domains.jobs import service as jobs
from app.domains.jobs.models import CANARY, Job, JobState
from app.domains.jobs.service import rounds
from app.settings import Settings
from tests.cast import new_person

NAME = "jobs.note"
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def hourly(here: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(PERIODIC, NAME, HOUR)
    with platform_session() as session:
        session.execute(delete(Job).where(Job.name == NAME))
    yield
    with platform_session() as session:
        session.execute(delete(Job).where(Job.name == NAME))


def slots() -> list[tuple[str | None, datetime]]:
    with platform_session() as session:
        statement = select(Job.slot, Job.due_at).where(Job.name == NAME).order_by(Job.due_at)
        return [(slot, due_at) for slot, due_at in session.execute(statement)]


def at(moment: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: moment)


def test_each_period_has_one_job(monkeypatch: pytest.MonkeyPatch) -> None:
    at(datetime(2026, 3, 4, 5, 59, tzinfo=UTC), monkeypatch)
    rounds.fill_slots()
    rounds.fill_slots()
    five, six = (datetime(2026, 3, 4, hour, tzinfo=UTC) for hour in (5, 6))
    assert slots() == [(five.isoformat(), five)]
    at(six, monkeypatch)
    rounds.fill_slots()
    rounds.fill_slots()
    assert slots() == [(five.isoformat(), five), (six.isoformat(), six)]


def test_a_period_whose_job_is_done_gets_no_other() -> None:
    rounds.fill_slots()
    with platform_session() as session:
        session.execute(update(Job).where(Job.name == NAME).values(state="done"))
    rounds.fill_slots()
    assert len(slots()) == 1


def fill_together(schedulers: int = 8) -> None:
    with ThreadPoolExecutor(schedulers) as pool:
        tries = [pool.submit(copy_context().run, rounds.fill_slots) for _ in range(schedulers)]
        for each in tries:
            each.result(timeout=30)


def test_many_schedulers_write_it_once() -> None:
    fill_together()
    assert len(slots()) == 1


def test_without_the_slot_each_would(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: rows that differ in their slot do not keep each other away."""
    real = jobs.schedule_once

    def anew(session: MainSession, name: str, *, slot: str, due_at: datetime) -> bool:
        return real(session, name, slot=f"{slot} {ids.new_id()}", due_at=due_at)

    monkeypatch.setattr(jobs, "schedule_once", anew)
    fill_together(3)
    assert len(slots()) == 3


@pytest.mark.parametrize("every", [timedelta(0), timedelta(seconds=59), timedelta(days=2), -HOUR])
def test_a_period_that_cannot_be_kept_is_a_mistake(every: timedelta) -> None:
    with pytest.raises(ValueError, match="runs every"):
        periodic(name="jobs.unheard_of", every=every, queue="default")
    assert "jobs.unheard_of" not in DEFINITIONS


def test_no_periodic_job_visits_the_tenants() -> None:
    assert {"jobs.purge", "identity.purge_sessions"} <= PERIODIC.keys()
    assert all(DEFINITIONS[name].plane != "tenant" for name in PERIODIC)


def test_what_is_over_is_forgotten_later_than_a_period(
    own: Settings, read: Callable[[UUID], Job]
) -> None:
    kept = timedelta(days=own.job_retention_days)
    assert kept > LONGEST_PERIOD
    old, young = clock.now() - kept - HOUR, clock.now() - kept + HOUR
    row = {"name": NAME, "queue": "default", "arguments": {}, "due_at": old}
    rows = {
        (state, finished_at): ids.new_id()
        for state in JobState
        for finished_at in (old, young)
        if state not in {JobState.WAITING, JobState.RUNNING}
    }
    with platform_session() as session:
        for (state, finished_at), job_id in rows.items():
            values = row | {"id": job_id, "state": state, "finished_at": finished_at}
            session.execute(insert(Job).values(values))
    DEFINITIONS["jobs.purge"].run()
    with platform_session() as session:
        left = set(session.scalars(select(Job.id).where(Job.id.in_(rows.values()))))
    forgotten = {key for key, job_id in rows.items() if job_id not in left}
    assert forgotten == {(JobState.DONE, old), (JobState.DROPPED, old)}


def test_canaries_are_forgotten_sooner_and_do_not_queue_up(here: Flask) -> None:
    name, now = f"{CANARY}fleet", clock.now()
    row = {"name": name, "queue": "fleet", "arguments": {}, "due_at": now}
    old, young, waiting, other = (ids.new_id() for _ in range(4))
    with platform_session() as session:
        session.execute(delete(Job).where(Job.name == name))
        for job_id, finished_at in ((old, now - 2 * HOUR), (young, now), (waiting, None)):
            state = "waiting" if finished_at is None else "done"
            values = row | {"id": job_id, "state": state, "finished_at": finished_at}
            session.execute(insert(Job).values(values))
        values = row | {"id": other, "name": NAME, "state": "waiting"}
        session.execute(insert(Job).values(values))
    DEFINITIONS[name].run()
    DEFINITIONS["jobs.purge"].run()
    with platform_session() as session:
        mine = select(Job.id, Job.state).where(Job.id.in_((old, young, waiting, other)))
        left = {job_id: state for job_id, state in session.execute(mine)}  # noqa: C416
    assert left == {young: "done", waiting: "dropped", other: "waiting"}


def test_sessions_that_expired_are_forgotten_with_their_tokens(here: Flask) -> None:
    person = new_person(here, "Bob")
    person.again()
    with main_session() as session:
        mine = select(UserSession.id).where(UserSession.user_id == person.user_id)
        expired, living = session.scalars(mine.order_by(UserSession.id)).all()
        before = clock.now() - timedelta(days=2)
        session.execute(
            update(UserSession).where(UserSession.id == expired).values(expires_at=before)
        )
    DEFINITIONS["identity.purge_sessions"].run()
    with main_session() as session:
        assert session.scalars(mine).all() == [living]
        of_expired = select(func.count()).where(RefreshToken.session_id == expired)
        assert session.scalar(of_expired) == 0
