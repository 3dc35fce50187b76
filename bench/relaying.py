"""The relay against a bare loop, and what it costs while nobody tells anything."""

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any, Final
from uuid import UUID

import psycopg

from app.core import ids
from app.core.messages import Message
from app.domains.outbox.service.relay import Relay
from app.domains.outbox.service.relaying import Outboxes
from app.integrations.kafka import KafkaPublisher
from app.settings import Settings
from app.tenancy.locations import TenantLocation
from effort import cpu_seconds
from embedded.errors import EmbeddedError
from figures import Figure, at_most, middle, ratio
from stage import Stage
from turns import Took, ratios, timed

_EVENTS: Final = 200
_QUIET: Final = 20
_BATCH: Final = 500
_PATIENCE: Final = 120.0
_ROWS: Final = """
    INSERT INTO outbox (id, type, subject, data, recorded_at)
    SELECT gen_random_uuid(), 'document.uploaded.v1', n::text,
           jsonb_build_object('document_id', gen_random_uuid(), 'size', n), now()
    FROM generate_series(1, %s) n
"""


@dataclass
class _Counted:
    """A publisher that tells when it has handed over so many."""

    publisher: KafkaPublisher
    left: int = 0
    over: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def expect(self, count: int) -> None:
        self.left = count
        self.over.clear()

    def publish(self, messages: Sequence[Message]) -> None:
        self.publisher.publish(messages)
        with self.lock:
            self.left -= len(messages)
            if self.left <= 0:
                self.over.set()


def throughput(
    stage: Stage, settings: Settings, tenants: Sequence[TenantLocation], *, rounds: int
) -> list[Figure]:
    """All of them quiet but for a tenth; until the last mark is gone."""
    dirty = tenants[::10]
    total = len(dirty) * _EVENTS
    publisher = KafkaPublisher(settings)
    counted = _Counted(publisher)
    ours: list[Took] = []
    bare: list[Took] = []
    with _running_relay(stage, settings, counted, tenants), _one_table(stage) as table:
        for number in range(-1, rounds):
            for turn in ("relay", "bare") if number % 2 else ("bare", "relay"):
                if turn == "bare":
                    table.execute("TRUNCATE outbox")
                    table.execute(_ROWS.encode(), (total,))
                    once = timed(partial(_produce, table, publisher))
                    if number >= 0:
                        bare.append(once)
                    continue
                for tenant in dirty:
                    with stage.manager.server.connect_as_owner(tenant.database) as connection:
                        connection.execute("TRUNCATE outbox")
                        connection.execute(_ROWS.encode(), (_EVENTS,))
                counted.expect(total)
                once = timed(partial(_until_relayed, stage, dirty, counted))
                if number >= 0:
                    ours.append(once)
    publisher.close()
    rates = {
        name: [total / each.seconds for each in took]
        for name, took in (("relay", ours), ("bare loop", bare))
    }
    return [
        *ratios("relay / bare loop", bare, ours, bound=0.5),
        *(
            Figure(name=name, value=median(each), unit="events/s", note=middle(each))
            for name, each in rates.items()
        ),
    ]


@contextmanager
def _one_table(stage: Stage) -> Iterator["psycopg.Connection[tuple[Any, ...]]"]:
    """An outbox of its own, with all the rows in it."""
    location = stage.manager.new_location(ids.new_id(), "bare")
    stage.manager.provision(location)
    with stage.manager.server.connect_as_owner(location.database) as connection:
        yield connection


def _produce(connection: "psycopg.Connection[tuple[Any, ...]]", publisher: KafkaPublisher) -> None:
    """Reads, and produces; marks nothing, and asks nobody."""
    last = 0
    query = (
        "SELECT position, id, type, subject, data, recorded_at FROM outbox WHERE position > %s"
        " ORDER BY position LIMIT %s"
    )
    while rows := connection.execute(query, (last, _BATCH)).fetchall():
        last = rows[-1][0]
        publisher.publish(
            [
                Message(
                    topic="events",
                    key=f"bare-{position // _EVENTS}",
                    value=json.dumps(
                        {
                            "specversion": "1.0",
                            "id": str(id_),
                            "source": "http://localhost",
                            "type": kind,
                            "subject": subject,
                            "time": recorded_at.isoformat(),
                            "datacontenttype": "application/json",
                            "tenantid": str(id_),
                            "data": data,
                        }
                    ).encode(),
                )
                for position, id_, kind, subject, data, recorded_at in rows
            ]
        )


@contextmanager
def _running_relay(
    stage: Stage, settings: Settings, publisher: Any, tenants: Sequence[TenantLocation]
) -> Iterator[None]:
    """It has walked past all of them once, and finds what is told by its marks."""
    walked, order = threading.Event(), sorted(each.tenant_id for each in tenants)

    def after(last: UUID | None, limit: int) -> list[UUID]:
        if last == order[-1]:
            walked.set()
        return [each for each in order if last is None or each > last][:limit]

    outboxes = Outboxes(
        publisher,
        source=settings.public_url,
        batch=settings.outbox_batch,
        open_tenant=stage.app.extensions["open_tenant"],
    )
    relay = Relay(outboxes, stage.app.extensions["marks"], after, settings)
    stopping = threading.Event()
    thread = threading.Thread(target=copy_context().run, args=(relay.run, stopping))
    thread.start()
    try:
        if not walked.wait(_PATIENCE):
            raise EmbeddedError("The relay did not come round.")
        while relay.busy:
            time.sleep(0.1)
        time.sleep(1)
        yield
    finally:
        stopping.set()
        thread.join()


def _until_relayed(stage: Stage, dirty: Sequence[TenantLocation], counted: _Counted) -> None:
    marks = stage.app.extensions["marks"]
    for tenant in dirty:
        marks.set(str(tenant.tenant_id))
    if not counted.over.wait(_PATIENCE):
        raise EmbeddedError("The relay did not send everything.")
    while marks.read()[0]:
        time.sleep(0.002)


def idle_cost(
    stage: Stage,
    settings: Settings,
    tenants: Sequence[TenantLocation],
    *,
    seconds: float,
) -> list[Figure]:
    """Processor time of this process and of PostgreSQL, while nobody tells anything."""
    publisher = KafkaPublisher(settings)
    spent: dict[int, list[float]] = {_QUIET: [], len(tenants): []}
    for number in range(3):
        for count in sorted(spent, reverse=bool(number % 2)):
            with _running_relay(stage, settings, publisher, tenants[:count]):
                before = cpu_seconds(stage.server_pid)
                time.sleep(seconds)
                spent[count].append((cpu_seconds(stage.server_pid) - before) / seconds)
    publisher.close()
    few, many = spent.values()
    times = [one / other for one, other in zip(many, few, strict=True)]
    return [
        ratio(
            f"an idle relay, {len(tenants)} quiet tenants / {_QUIET}: processor time",
            times,
            goal=at_most(1.5),
        ),
        *(
            Figure(
                name=f"an idle relay over {count}: of one core",
                value=100 * median(each),
                unit="%",
                note=middle([100 * one for one in each]),
            )
            for count, each in spent.items()
        ),
    ]
