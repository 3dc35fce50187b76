"""Each effect once, in order; what fails holds back its own key and handler, and nobody else."""

from collections.abc import Callable

import pytest
from flask import Flask
from sqlalchemy import delete, func, select, text, update

from app.core import clock, ids
from app.core.cloudevents import CloudEvent, Undecodable
from app.core.consumers import CONSUMERS, Consumer
from app.core.db import platform_session
from app.core.messages import Message
from app.domains.identity.models import User
from app.domains.outbox.models import TenantHandled, Undelivered
from app.domains.outbox.service.delivery import Delivery
from app.domains.tenants.service import lifecycle
from app.tenancy.manager import current_manager
from app.tenancy.sessions import TenantSession
from tests.cast import House
from tests.domains.outbox.conftest import PlanSold, Seen, put_aside
from tests.tenancy.laboratory import until

Observe = Callable[..., Seen]


def message(house: House, number: int, **changes: object) -> Message:
    event = CloudEvent(
        id=ids.new_id(),
        source="http://localhost",
        type=PlanSold.public_type(),
        subject="plan",
        time=clock.now(),
        tenantid=house.id,
        data={"number": number},
    )
    return Message(
        topic="events", key=str(house.id), value=event.model_copy(update=changes).dumps()
    )


def test_twice_the_same_message_has_one_effect(
    context: Flask, house: House, delivery: Delivery, observe: Observe
) -> None:
    seen = observe()
    messages = [message(house, number) for number in (1, 2)]
    for each in (*messages, *messages, messages[0]):
        delivery.receive(each)
    assert seen.numbers(house) == [1, 2]


def test_without_the_inbox_it_would_have_two(
    context: Flask, house: House, delivery: Delivery, observe: Observe
) -> None:
    """The control."""
    seen, one = observe(), message(house, 1)
    delivery.receive(one)
    with current_manager().tenant_db_session(house.database) as session:
        session.execute(delete(TenantHandled))
    delivery.receive(one)
    assert seen.numbers(house) == [1, 1]


def test_what_a_handler_wrote_before_it_failed_is_undone_with_its_note(
    context: Flask, house: House, delivery: Delivery, observe: Observe
) -> None:
    seen = observe()

    def half(session: TenantSession, event: CloudEvent) -> None:
        session.add(TenantHandled(consumer="half", event_id=event.id))
        session.flush()
        raise LookupError("half way")

    CONSUMERS[seen.name] = Consumer(seen.name, frozenset({"plan.sold.v1"}), "tenant", half)
    delivery.receive(message(house, 1))
    with current_manager().tenant_db_session(house.database) as session:
        notes = session.scalars(
            select(TenantHandled).where(TenantHandled.consumer.in_(("half", seen.name)))
        )
        assert notes.all() == []


def transactions_of(seen: list[Seen], house: House) -> set[int]:
    """Those in which these handlers had the tenant's events."""
    names = [each.name for each in seen]
    with current_manager().tenant_db_session(house.database) as session:
        noted = select(text("xmin::text::bigint")).select_from(TenantHandled)
        return set(session.scalars(noted.where(TenantHandled.consumer.in_(names))))


def test_what_comes_together_shares_a_transaction(
    *,
    context: Flask,
    house: House,
    other_house: House,
    delivery: Delivery,
    observe: Observe,
) -> None:
    seen = [observe(), observe()]
    delivery.receive_all(
        [message(each, number) for number in (1, 2, 3) for each in (house, other_house)]
    )
    for each in seen:
        assert each.numbers(house) == each.numbers(other_house) == [1, 2, 3]
    assert len(transactions_of(seen, house)) == 1


def test_one_that_came_before_or_twice_has_one_effect_among_others(
    context: Flask, house: House, delivery: Delivery, observe: Observe
) -> None:
    seen = observe()
    first, second, third = (message(house, number) for number in (1, 2, 3))
    delivery.receive(first)
    delivery.receive_all([first, second, second])
    delivery.receive_all([third])
    delivery.receive_all([first, second, third])
    assert seen.numbers(house) == [1, 2, 3]


def test_among_others_a_failing_event_parks_alone(
    *,
    context: Flask,
    house: House,
    other_house: House,
    delivery: Delivery,
    observe: Observe,
) -> None:
    """And what is no event: those before it, and other keys and handlers, have had theirs."""
    failing, well, of_main = observe(), observe(), observe(plane="main")
    failing.failing = lambda event: event.tenantid == house.id and event.data["number"] == 2
    broken = Message(topic="events", key=str(other_house.id), value=b"{")
    delivery.receive_all(
        [message(each, number) for number in (1, 2, 3) for each in (house, other_house)] + [broken]
    )
    assert failing.numbers(house) == [1]
    assert [(row.attempts, row.state) for row in put_aside(failing)] == [
        (1, "parked"),
        (0, "parked"),
    ]
    assert failing.numbers(other_house) == [1, 2, 3]
    for each in (well, of_main):
        assert each.numbers(house) == each.numbers(other_house) == [1, 2, 3]
    delivery.receive_all([message(house, 4)])  # behind what is parked
    assert failing.numbers(house) == [1]
    assert well.numbers(house) == [1, 2, 3, 4]


def test_what_was_given_up_stays_so_among_others(
    context: Flask, house: House, delivery: Delivery, observe: Observe
) -> None:
    failing = observe()
    failing.failing = lambda _: True
    first = message(house, 1)
    delivery.receive_all([first])
    until(lambda: _retried(delivery, failing) == ["dead"], "the event to be given up")
    failing.failing = lambda _: False
    delivery.receive_all([first, message(house, 2)])
    assert failing.numbers(house) == [2]


def test_what_the_database_refuses_later_is_that_handlers_alone(
    context: Flask, house: House, delivery: Delivery, observe: Observe
) -> None:
    """It leaves a row to be written at the end, whose key there is already."""
    seen, well = observe(), observe()

    def late(session: TenantSession, event: CloudEvent) -> None:
        session.add(TenantHandled(consumer=f"{seen.name}.own", event_id=house.id))

    CONSUMERS[seen.name] = Consumer(seen.name, frozenset({"plan.sold.v1"}), "tenant", late)
    delivery.receive_all([message(house, 1), message(house, 2)])
    assert [row.attempts for row in put_aside(seen)] == [1]
    assert put_aside(well) == []
    assert well.numbers(house) == [1, 2]


def test_a_failing_event_holds_back_its_key_and_handler_alone(
    *,
    context: Flask,
    house: House,
    other_house: House,
    delivery: Delivery,
    observe: Observe,
) -> None:
    failing, well = observe(), observe()
    failing.failing = lambda event: event.tenantid == house.id and event.data["number"] == 1
    for number in (1, 2, 3):
        delivery.receive(message(house, number))
        delivery.receive(message(other_house, number))
    assert failing.numbers(other_house) == well.numbers(house) == [1, 2, 3]
    assert failing.numbers(house) == []
    assert [row.attempts for row in put_aside(failing)] == [1, 0, 0]
    failing.failing = lambda _: False  # mended
    until(lambda: bool(delivery.retry_due()) or not put_aside(failing), "the pause to be over")
    until(lambda: not delivery.retry_due() and not put_aside(failing), "what was parked")
    assert failing.numbers(house) == [1, 2, 3]


def test_given_up_it_holds_nobody_back(
    context: Flask, house: House, delivery: Delivery, observe: Observe
) -> None:
    failing = observe()
    failing.failing = lambda event: event.data["number"] == 1
    first = message(house, 1)
    for each in (first, message(house, 2)):
        delivery.receive(each)

    def states() -> list[str]:
        delivery.retry_due()
        return [row.state for row in put_aside(failing)]

    until(lambda: states() == ["dead"], "the event to be given up")
    (letter,) = put_aside(failing)
    assert (letter.attempts, letter.topic, letter.key) == (3, "events", str(house.id))
    assert letter.last_error == "LookupError: poisoned"  # what follows may quote a tenant's data
    assert failing.numbers(house) == [2]
    failing.failing = lambda _: False
    delivery.receive(first)  # once more by Kafka: it stays given up
    assert failing.numbers(house) == [2]


@pytest.mark.parametrize("value", [None, b"", b"{", b"[]", b'{"specversion": "1.0"}', b"\xff"])
def test_what_is_no_event_is_a_dead_letter_at_once(
    context: Flask, delivery: Delivery, value: bytes | None
) -> None:
    offset = ids.new_id().int % 2**60
    for _ in range(2):
        delivery.receive(
            Message(topic="events", key="nobody", value=value, partition=3, offset=offset)
        )
    with platform_session() as session:
        (letter,) = session.scalars(select(Undelivered).where(Undelivered.offset == offset))
    assert (letter.state, letter.partition, letter.consumer) == ("dead", 3, None)
    assert (letter.last_error or "").startswith("Undecodable: ")


def test_its_error_quotes_nothing() -> None:
    with pytest.raises(Undecodable) as caught:
        CloudEvent.loads(b'{"specversion": "1.0", "id": "a secret", "data": "another"}')
    assert "secret" not in str(caught.value)
    assert "another" not in str(caught.value)


def test_a_closed_tenant_is_waited_for(
    context: Flask, house: House, delivery: Delivery, observe: Observe
) -> None:
    seen = observe()
    lifecycle.suspend(current_manager(), tenant_id=house.id, reason=None)
    delivery.receive(message(house, 1))
    for _ in range(5):  # more often than an event is tried
        _make_due(seen)
        delivery.retry_due()
    (row,) = put_aside(seen)
    assert row.state == "parked"
    lifecycle.resume(current_manager(), tenant_id=house.id)
    _make_due(seen)
    delivery.retry_due()
    assert seen.numbers(house) == [1]
    assert put_aside(seen) == []


def _make_due(consumer: Seen) -> None:
    with platform_session() as session:
        session.execute(
            update(Undelivered)
            .where(Undelivered.consumer == consumer.name)
            .values(due_at=func.now())
        )


def test_a_tenant_that_is_gone_is_not(
    context: Flask, house: House, delivery: Delivery, observe: Observe
) -> None:
    seen = observe()
    delivery.receive(message(House(ids.new_id(), "gone", "gone"), 1))
    assert put_aside(seen) == []
    assert seen.events == []


def test_a_handler_of_the_main_plane_acts_in_the_tenants_name(
    context: Flask, house: House, delivery: Delivery, observe: Observe
) -> None:
    tenants = []
    seen = observe(plane="main")
    CONSUMERS[seen.name] = Consumer(
        seen.name,
        frozenset({PlanSold.public_type()}),
        "main",
        lambda session, _: tenants.append((session.tenant_id, session.get(User, ids.new_id()))),
    )
    delivery.receive(message(house, 1))
    assert tenants == [(house.id, None)]


def test_a_handler_that_is_no_more(
    context: Flask, house: House, delivery: Delivery, observe: Observe
) -> None:
    seen = observe()
    seen.failing = lambda _: True
    delivery.receive(message(house, 1))
    known = CONSUMERS.pop(seen.name)
    try:
        until(lambda: _retried(delivery, seen) == ["dead"], "the event to be given up")
    finally:
        CONSUMERS[seen.name] = known
    assert "there is no consumer" in (put_aside(seen)[0].last_error or "")


def _retried(delivery: Delivery, consumer: Seen) -> list[str]:
    delivery.retry_due()
    return [row.state for row in put_aside(consumer)]
