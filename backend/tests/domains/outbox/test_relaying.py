"""What is written is sent: in order, by one relay at a time, wherever it is killed."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from contextvars import copy_context
from threading import Event, Thread
from uuid import UUID

import orjson
import pytest
from flask import Flask
from sqlalchemy import select, text, update

from app.core import ids
from app.core.cloudevents import CloudEvent
from app.core.db import platform_session
from app.core.errors import Unavailable
from app.core.marks import Marks
from app.core.messages import Message
from app.core.tasks import DEFINITIONS, perform
from app.domains.jobs.models import Job
from app.domains.outbox.models import TenantHandled, TenantOutgoing
from app.domains.outbox.service.relay import Relay, Walk
from app.domains.outbox.service.relaying import Outboxes
from app.settings import Settings
from app.tenancy.manager import current_manager
from tests.cast import House
from tests.domains.outbox.conftest import Kept, Seen, outboxes_into, sell, unsent
from tests.tenancy.laboratory import until


def numbers(kept: Kept) -> list[int]:
    return [CloudEvent.loads(each.value).data["number"] for each in kept.messages]


def test_in_order_and_once(context: Flask, house: House) -> None:
    kept = Kept()
    outboxes = outboxes_into(context, kept, batch=2)
    sell(house, 1, 2, 3)
    first, second, third = (outboxes.send(str(house.id)) for _ in range(3))
    assert [(each.count, each.more) for each in (first, second, third)] == [
        (2, True),
        (1, False),
        (0, False),
    ]
    assert numbers(kept) == [1, 2, 3]
    assert {(each.topic, each.key) for each in kept.messages} == {("events", str(house.id))}


def test_a_message_is_a_cloudevent(context: Flask, house: House) -> None:
    kept = Kept()
    sell(house, 1)
    outboxes_into(context, kept).send(str(house.id))
    document = orjson.loads(kept.messages[0].value or b"")
    assert document | {"id": "", "time": "", "subject": "", "data": ""} == {
        "specversion": "1.0",
        "id": "",
        "source": "http://localhost",
        "type": "plan.sold.v1",
        "subject": "",
        "time": "",
        "datacontenttype": "application/json",
        "tenantid": str(house.id),
        "data": "",
    }
    assert CloudEvent.loads(kept.messages[0].value).dumps() == kept.messages[0].value


def test_what_could_not_be_handed_over_stays(context: Flask, house: House) -> None:
    class Away:
        def publish(self, _: list[Message]) -> None:
            raise Unavailable("away")

    sell(house, 1, 2)
    with pytest.raises(Unavailable):
        outboxes_into(context, Away()).send(str(house.id))
    assert unsent(house) == [1, 2]


def test_two_relays_share_a_tenant_one_after_the_other(context: Flask, house: House) -> None:
    """The second goes away while the first is about to send: their batches never mix."""
    arrived, go_on, kept = Event(), Event(), Kept()

    class Slow(Kept):
        def publish(self, messages: list[Message]) -> None:
            arrived.set()
            assert go_on.wait(30)
            super().publish(messages)

    slow = Slow()
    sell(house, 1, 2)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(copy_context().run, outboxes_into(context, slow).send, str(house.id))
        assert arrived.wait(30)
        refused = outboxes_into(context, kept).send(str(house.id))
        go_on.set()
        assert first.result(30).count == 2
    assert (refused.count, refused.more, kept.messages) == (0, True, [])
    assert numbers(slow) == [1, 2]


def test_a_tenant_cannot_speak_for_another(
    context: Flask, house: House, other_house: House
) -> None:
    """Its role may write into its outbox; whose event that is, the relay knows."""
    kept = Kept()
    sell(house, 1)
    with current_manager().tenant_db_session(house.database) as session:
        forged = {"tenantid": str(other_house.id), "number": 1}
        session.execute(update(TenantOutgoing).values(data=forged, type="tenant.deleted.v1"))
    outboxes_into(context, kept).send(str(house.id))
    event = CloudEvent.loads(kept.messages[0].value)
    assert (event.tenantid, kept.messages[0].key) == (house.id, str(house.id))


# The rounds.


@contextmanager
def relaying(
    app: Flask, settings: Settings, outboxes: Outboxes, tenants: list[UUID]
) -> Iterator[None]:
    """A relay whose walk knows these tenants only."""

    def after(last: UUID | None, _: int) -> list[UUID]:
        return [each for each in sorted(tenants) if last is None or each > last]

    stopping = Event()
    relay = Relay(outboxes, app.extensions["marks"], after, settings)
    thread = Thread(target=copy_context().run, args=(relay.run, stopping))
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture
def patient(settings: Settings) -> Settings:
    """Its walk comes past once an hour, after the first time."""
    return settings.model_copy(update={"outbox_sweep_seconds": 3600, "outbox_poll_seconds": 0.01})


@pytest.fixture
def hasty(settings: Settings) -> Settings:
    return settings.model_copy(update={"outbox_sweep_seconds": 0.01, "outbox_poll_seconds": 0.01})


def test_marks_lead_the_relay(
    context: Flask,
    house: House,
    patient: Settings,
    outboxes: Outboxes,
    observe: Callable[..., Seen],
) -> None:
    seen = observe()
    with relaying(context, patient, outboxes, []):
        sell(house, 1, 2, 3)
        until(lambda: seen.numbers(house) == [1, 2, 3], "the events")
        marks: Marks = context.extensions["marks"]
        until(lambda: str(house.id) not in marks.read()[0], "the mark to be cleared")


def test_without_a_mark_it_finds_nothing(
    *,
    context: Flask,
    house: House,
    other_house: House,
    patient: Settings,
    outboxes: Outboxes,
    observe: Callable[..., Seen],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The control of the test before, and the reason for the walk."""
    seen = observe()
    with relaying(context, patient, outboxes, []):
        with monkeypatch.context() as patch:
            patch.setattr(Marks, "setting", lambda *_: nullcontext())
            sell(house, 1)
        sell(other_house, 5)
        until(lambda: seen.numbers(other_house) == [5], "a marked tenant's event")
        assert seen.numbers(house) == []
        assert unsent(house) == [1]


def test_the_walk_finds_what_was_not_marked(
    *,
    context: Flask,
    house: House,
    hasty: Settings,
    outboxes: Outboxes,
    observe: Callable[..., Seen],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = observe()
    monkeypatch.setattr(Marks, "setting", lambda *_: nullcontext())
    with relaying(context, hasty, outboxes, [house.id]):
        sell(house, 1, 2)
        until(lambda: seen.numbers(house) == [1, 2], "the events")


def test_after_redis_was_emptied_the_walk_hurries(
    context: Flask,
    house: House,
    patient: Settings,
    outboxes: Outboxes,
    observe: Callable[..., Seen],
) -> None:
    """At its usual pace it would come past in an hour."""
    seen = observe()
    marks: Marks = context.extensions["marks"]
    with relaying(context, patient, outboxes, [house.id]):
        sell(house, 1)
        until(lambda: seen.numbers(house) == [1], "the first event")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Marks, "setting", lambda *_: nullcontext())
            sell(house, 2)
        marks._redis.delete(marks._key)
        until(lambda: seen.numbers(house) == [1, 2], "the event that Redis knows nothing of")


def test_the_walks_pace_does_not_depend_on_their_number() -> None:
    def steps(tenants: int) -> int:
        everyone = sorted(ids.new_id() for _ in range(tenants))

        def after(last: UUID | None, limit: int) -> list[UUID]:
            return [each for each in everyone if last is None or each > last][:limit]

        walk = Walk(after, pause=1000.0)
        while walk._hurried:  # the first goes through all of them
            walk._next_at = 0.0
            walk.due(blind=False)
        walk._next_at = time.monotonic()
        return len(walk.due(blind=False))

    assert steps(20) == steps(500) == 1


def test_what_was_sent_is_purged_by_a_job_of_the_tenant(
    context: Flask,
    house: House,
    patient: Settings,
    outboxes: Outboxes,
    observe: Callable[..., Seen],
) -> None:
    seen = observe()
    with relaying(context, patient, outboxes, []):
        sell(house, 1)
        until(lambda: unsent(house) == [] and seen.numbers(house) == [1], "the event")

    def jobs() -> list[Job]:
        with platform_session() as session:
            statement = select(Job).where(
                Job.name == "outbox.purge_tenant", Job.tenant_id == house.id
            )
            return list(session.scalars(statement))

    assert len(jobs()) == 1
    sell(house, 2)
    with current_manager().tenant_db_session(house.database) as session:
        session.execute(
            update(TenantOutgoing)
            .where(TenantOutgoing.sent_at.is_not(None))
            .values(sent_at=text("now() - interval '8 days'"))
        )
        session.execute(update(TenantHandled).values(handled_at=text("now() - interval '15 days'")))
    open_tenant = context.extensions["open_tenant"]
    perform(DEFINITIONS["outbox.purge_tenant"], open_tenant, tenant_id=house.id, arguments={})
    with current_manager().tenant_db_session(house.database) as session:
        left = session.scalars(select(TenantOutgoing)).all()
        assert session.scalars(select(TenantHandled)).all() == []
    assert [row.data["number"] for row in left] == [2]
