"""A house of one's own, handlers to observe, and a relay that works when it is told to."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import select

from app.core import ids
from app.core.cloudevents import CloudEvent
from app.core.consumers import CONSUMERS, Consumer
from app.core.db import PlaneSession, after_commit, platform_session
from app.core.events import Event, record
from app.core.messages import Message
from app.domains.outbox.models import MainOutgoing, TenantOutgoing, Undelivered
from app.domains.outbox.service.delivery import Delivery
from app.domains.outbox.service.relaying import InProcess, Outboxes
from app.settings import Settings
from app.tenancy.manager import current_manager
from tests.cast import House, new_house, new_person


@dataclass(frozen=True, kw_only=True)
class PlanSold(Event):
    """None of the application's."""

    type: ClassVar[str] = "plan.sold"
    target: ClassVar[str] = "plan_id"
    public_version = 1
    withheld = frozenset({"buyer"})

    plan_id: UUID
    number: int = 0
    buyer: str = "Bob"


@dataclass
class Seen:
    """A handler that tells what it has done, and fails as long as it is told to."""

    name: str
    events: list[CloudEvent] = field(default_factory=list)
    failing: Callable[[CloudEvent], bool] = lambda _: False

    def __call__(self, session: PlaneSession, event: CloudEvent) -> None:
        if self.failing(event):
            raise LookupError("poisoned\nDETAIL: bob@example.com")
        after_commit(session, lambda: self.events.append(event))

    def numbers(self, house: House) -> list[int]:
        return [each.data["number"] for each in self.events if each.tenantid == house.id]


@pytest.fixture
def house(context: Flask) -> House:
    return new_house("acme", new_person(context, "Alice"))


@pytest.fixture
def other_house(context: Flask) -> House:
    return new_house("globex", new_person(context, "Mallory"))


@pytest.fixture
def observe() -> Iterator[Callable[..., Seen]]:
    """Registers a handler of plans for the time of the test."""
    made = []

    def observe(**options: Any) -> Seen:
        seen = Seen(f"probe.{ids.new_id().hex}")
        plane = options.get("plane", "tenant")
        types = frozenset(options.get("types", {PlanSold.public_type()}))
        CONSUMERS[seen.name] = Consumer(seen.name, types, plane, seen)
        made.append(seen.name)
        return seen

    yield observe
    for name in made:
        del CONSUMERS[name]


@pytest.fixture
def eager(settings: Settings) -> Settings:
    """Three attempts, and no pause between them."""
    return settings.model_copy(update={"event_attempts": 3, "event_back_off_seconds": 0.0001})


@pytest.fixture
def delivery(context: Flask, eager: Settings) -> Delivery:
    return Delivery(eager, open_tenant=context.extensions["open_tenant"])


@pytest.fixture
def outboxes(context: Flask, delivery: Delivery) -> Outboxes:
    return outboxes_into(context, InProcess(delivery.receive_all))


def outboxes_into(app: Flask, publisher: Any, *, batch: int = 100) -> Outboxes:
    return Outboxes(
        publisher,
        source="http://localhost",
        batch=batch,
        open_tenant=app.extensions["open_tenant"],
    )


@dataclass
class Kept:
    """A publisher that keeps what it gets."""

    messages: list[Message] = field(default_factory=list)

    def publish(self, messages: list[Message]) -> None:
        self.messages += messages


def sell(house: House, *numbers: int) -> None:
    """One transaction for each."""
    for number in numbers:
        with current_manager().tenant_db_session(house.database) as session:
            record(session, PlanSold(plan_id=ids.new_id(), number=number))


def unsent(house: House) -> list[int]:
    with current_manager().tenant_db_session(house.database) as session:
        statement = (
            select(TenantOutgoing)
            .where(TenantOutgoing.sent_at.is_(None))
            .order_by(TenantOutgoing.position)
        )
        return [row.data["number"] for row in session.scalars(statement)]


def outgoing_of(tenant_id: UUID) -> list[MainOutgoing]:
    """What the main database tells of a tenant."""
    with platform_session() as session:
        statement = select(MainOutgoing).where(MainOutgoing.tenant_id == tenant_id)
        return list(session.scalars(statement.order_by(MainOutgoing.position)))


def put_aside(consumer: Seen) -> list[Undelivered]:
    with platform_session() as session:
        statement = select(Undelivered).where(Undelivered.consumer == consumer.name)
        return list(session.scalars(statement.order_by(Undelivered.position)))
