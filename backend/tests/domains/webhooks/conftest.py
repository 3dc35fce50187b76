"""A tenant with a customer's server beside it, and a worker that works when it is told to."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import Select, func, select, text, update

from app.core.db import platform_session
from app.domains.jobs.models import Job, JobState
from app.domains.outbox.service.delivery import Delivery
from app.domains.outbox.service.relaying import InProcess
from app.domains.webhooks.models import Delivery as WebhookDelivery
from app.settings import Settings
from app.tenancy.manager import current_manager
from tests.cast import House, Person, new_house, new_person
from tests.core.apps import another_app
from tests.domains.outbox.conftest import Kept, outboxes_into
from tests.domains.webhooks.receivers import Receiver, receiver

_ROUNDS = 20


@dataclass(frozen=True)
class Scene:
    """Alice's tenant of this test alone."""

    app: Flask
    settings: Settings
    house: House
    alice: Person

    @property
    def path(self) -> str:
        return f"/api/tenants/{self.house.id}/webhooks"

    def listen(self, url: str, *event_types: str) -> tuple[str, str]:
        """A new endpoint's path and secret."""
        wish = {"url": url, "event_types": event_types or ["document.uploaded.v1"]}
        answer = self.alice.post(self.path, json=wish)
        assert answer.status_code == 201, answer.text
        told = answer.get_json()
        return f"{self.path}/{told['endpoint']['id']}", told["secret"]

    def upload(self) -> str:
        """Alice's upload, told to every handler; the document's id."""
        document = self.alice.post(
            self.house.documents, data={"file": (io.BytesIO(b"plans"), "plans.txt")}
        ).get_json()["id"]
        self.relay()
        return str(document)

    def relay(self, *, times: int = 1) -> None:
        kept = Kept()
        outboxes_into(self.app, kept, batch=1000).send(str(self.house.id))
        into = InProcess(
            Delivery(self.settings, open_tenant=self.app.extensions["open_tenant"]).receive_all
        )
        for _ in range(times):
            into.publish(kept.messages)

    def work(self, app: Flask | None = None) -> None:
        """Does what is due, as a worker does that is told of it."""
        for _ in range(_ROUNDS):
            if not do_webhooks(app or self.app, self.house.id):
                return
        raise AssertionError("there is always something more to do")

    def jobs(self) -> list[Job]:
        with platform_session() as session:
            return list(session.scalars(waiting(self.house.id)))

    def let_time_pass(self) -> None:
        """What waits for its time is due."""
        with current_manager().tenant_db_session(self.house.database) as session:
            session.execute(
                update(WebhookDelivery)
                .where(WebhookDelivery.next_attempt_at.is_not(None))
                .values(next_attempt_at=func.now() - timedelta(minutes=1))
            )
        with platform_session() as session:
            session.execute(
                update(Job)
                .where(Job.tenant_id == self.house.id, Job.name.like("webhooks.%"))
                .where(Job.name != "webhooks.purge", Job.state == JobState.WAITING)
                .values(due_at=func.now() - timedelta(seconds=1))
            )

    def sql(self, statement: str, **values: Any) -> None:
        with current_manager().tenant_db_session(self.house.database) as session:
            session.execute(text(statement), values)

    def deliveries(self, endpoint: str, **query: str) -> list[dict[str, Any]]:
        """The oldest first."""
        answer = self.alice.get(f"{endpoint}/deliveries", query_string=query)
        assert answer.status_code == 200, answer.text
        return list(reversed(answer.get_json()["items"]))

    def attempts(self, endpoint: str, delivery: dict[str, Any]) -> list[dict[str, Any]]:
        answer = self.alice.get(f"{endpoint}/deliveries/{delivery['id']}")
        return list(answer.get_json()["attempts"])

    def outgoing(self, type_: str) -> list[dict[str, Any]]:
        """The data of the tenant's events of a type."""
        with current_manager().tenant_db_session(self.house.database) as session:
            rows = session.execute(
                text("SELECT data FROM outbox WHERE type = :type ORDER BY position"),
                {"type": type_},
            )
            return [row.data for row in rows]

    @property
    def tenant_id(self) -> UUID:
        return self.house.id


def waiting(tenant_id: UUID) -> Select[Job]:
    """A tenant's jobs of deliveries and their sweeps."""
    names = ["webhooks.deliver", "webhooks.sweep"]
    mine = select(Job).where(Job.tenant_id == tenant_id, Job.name.in_(names))
    return mine.where(Job.state == JobState.WAITING).order_by(Job.id)


def do_webhooks(app: Flask, tenant_id: UUID) -> int:
    """Does those that are due, as a worker does that is told of them; how many."""
    with platform_session() as session:
        due = list(session.scalars(waiting(tenant_id).where(Job.due_at <= func.now())))
    for job in due:
        app.extensions["celery"].tasks["jobs.run"].apply(kwargs={"job_id": str(job.id)}).get()
    return len(due)


@pytest.fixture(scope="module")
def here(app: Flask, settings: Settings) -> Iterator[Flask]:
    """The application as in development: it may reach this machine."""
    with another_app(settings, webhook_allow_loopback=True, webhook_timeout_seconds=10) as here:
        yield here


@pytest.fixture
def scene(here: Flask, settings: Settings) -> Iterator[Scene]:
    with here.app_context():
        alice = new_person(here, "Alice")
        yield Scene(here, settings, new_house("acme", alice), alice)


@pytest.fixture
def there() -> Iterator[Receiver]:
    with receiver() as there:
        yield there
