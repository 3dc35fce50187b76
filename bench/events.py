"""What it costs that events are never lost: writes with their outbox, the relay, how late it is.

The relay sends to a real Kafka, a single node on this machine; beside it, in turns, a bare loop
reads as many rows of one table of one database and produces them with the same producer.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from statistics import median, quantiles
from typing import Any, Final
from uuid import UUID

import psycopg

import anchor
from app.core import ids
from app.core.caller import Caller
from app.core.catalogue import TOPICS
from app.core.db import platform_session
from app.core.messages import Message
from app.domains.documents.service import trash
from app.domains.identity.service import users
from app.domains.outbox.service.recording import Recorder
from app.domains.outbox.service.relay import Relay
from app.domains.outbox.service.relaying import Outboxes
from app.domains.tenants.service import lifecycle
from app.domains.tenants.service.directory import TenantRegistry
from app.integrations.kafka import KafkaPublisher, ensure_topics
from app.settings import Settings
from app.tenancy.locations import TenantLocation
from effort import cpu_seconds
from embedded import maven
from embedded.errors import EmbeddedError
from embedded.kafka import KafkaServer
from embedded.process import ChildProcess, Command
from embedded.real import kafka_libraries
from figures import Figure, at_least, at_most, middle, ratio
from library import fill
from stage import Stage

_BUILDERS: Final = 4
_TENANTS: Final = 500
_RELAYED: Final = 200
_EVENTS: Final = 200
_WRITES: Final = 100
_PER_SECOND: Final = 100
_QUIET: Final = 20
_BATCH: Final = 500
_PATIENCE: Final = 120.0
_ROWS: Final = """
    INSERT INTO outbox (id, type, subject, data, recorded_at)
    SELECT gen_random_uuid(), 'document.uploaded.v1', n::text,
           jsonb_build_object('document_id', gen_random_uuid(), 'size', n), now()
    FROM generate_series(1, %s) n
"""
# From the commit, or a little before it, to the beginning of the handler's transaction.
_HANDLED: Final = """
    SELECT extract(epoch FROM i.handled_at - o.recorded_at)
    FROM outbox o JOIN inbox i ON i.event_id = o.id AND i.consumer = 'activity.feed'
    WHERE o.recorded_at >= %s
"""


def measure(stage: Stage, *, quick: bool) -> list[Figure]:
    with _kafka(stage) as broker, _through(stage, broker) as settings:
        tenants = _build(stage, 60 if quick else _TENANTS)
        relayed = tenants[:_RELAYED]
        rounds = 5 if quick else 15
        return [
            *_writes(stage, tenants[0], rounds=2 * rounds),
            *_relaying(stage, settings, relayed, rounds=rounds),
            *_idling(stage, settings, tenants, seconds=10 if quick else 20),
            *_latency(stage, settings, tenants[:_QUIET], seconds=10 if quick else 30),
        ]


@contextmanager
def _kafka(stage: Stage) -> Iterator[KafkaServer]:
    if not kafka_libraries().is_dir() or maven.java_program() is None:
        raise EmbeddedError("It needs Kafka: scripts/services.py install kafka")
    with KafkaServer(stage.folder / "kafka", libraries=kafka_libraries()) as server:
        yield server


@contextmanager
def _through(stage: Stage, broker: KafkaServer) -> Iterator[Settings]:
    changes: dict[str, Any] = {
        "enable_kafka_events": True,
        "kafka_bootstrap_servers": (broker.url,),
    }
    settings = stage.settings.model_copy(update=changes)
    ensure_topics(settings, TOPICS, add_partitions=False, check=False)
    yield settings


def _build(stage: Stage, count: int) -> list[TenantLocation]:
    """Tenants as any other, without documents."""
    with platform_session() as session:
        owner = users.create_user(
            session,
            stage.app.extensions["passwords"],
            email="alice@acme.example",
            name="Alice",
            password="correct horse battery staple",
            verified=True,
        ).id

    def make(_: int) -> TenantLocation:
        tenant_id = lifecycle.register(
            stage.manager,
            name="Bench",
            slug=f"b-{ids.new_id().hex[-12:]}",
            owner_id=owner,
        )
        lifecycle.provision(stage.manager, tenant_id=tenant_id)
        return TenantRegistry().locate_tenant(tenant_id)

    with ThreadPoolExecutor(_BUILDERS) as pool:
        futures = [pool.submit(copy_context().run, make, number) for number in range(count)]
        return [each.result() for each in futures]


# Writes.


def _writes(stage: Stage, tenant: TenantLocation, *, rounds: int) -> list[Figure]:
    """The smallest write that there is: a document comes back from the trash."""
    owner = ids.new_id()
    conninfo = stage.manager.server.owner_url(tenant.database)
    fill(conninfo, first=1, last=_WRITES, owner=owner)
    recorders = stage.app.extensions["event_recorders"]
    ways = {
        "with": recorders,
        "without": tuple(each for each in recorders if not isinstance(each, Recorder)),
    }
    took: dict[str, list[_Took]] = {name: [] for name in ways}
    with psycopg.connect(conninfo, autocommit=True) as connection:
        for number in range(-2, rounds):
            for name in sorted(ways, reverse=number % 2 == 0):
                documents = _throw_away(connection)
                stage.app.extensions["event_recorders"] = ways[name]
                once = _timed(partial(_restore_all, stage, tenant, owner, documents))
                if number >= 0:
                    took[name].append(once)
    stage.app.extensions["event_recorders"] = recorders
    ratios = [out / own for own, out in zip(took["with"], took["without"], strict=True)]
    return [
        ratio("writes with the outbox / without: throughput", ratios, goal=at_least(0.8)),
        Figure(
            name="a write with it",
            value=1000 * median(took["with"]) / _WRITES,
            unit="ms",
        ),
    ]


def _throw_away(connection: "psycopg.Connection[tuple[Any, ...]]") -> list[UUID]:
    connection.execute("TRUNCATE outbox")
    rows = connection.execute(
        "UPDATE documents SET deleted_at = now(), deleted_by = owner_id RETURNING id"
    ).fetchall()
    connection.execute("VACUUM documents")
    return [document_id for (document_id,) in rows]


def _restore_all(
    stage: Stage, tenant: TenantLocation, owner: UUID, documents: Sequence[UUID]
) -> None:
    caller = _caller(owner)
    for document_id in documents:
        with stage.manager.tenant_db_session(tenant) as session:
            trash.restore_document(session, caller=caller, document_id=document_id)


def _caller(owner: UUID) -> Caller:
    return Caller(
        user_id=owner,
        session_id=owner,
        tenant_id=None,
        role=None,
        permissions=frozenset({"documents:manage"}),
        location=None,
    )


# The relay.


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


def _relaying(
    stage: Stage, settings: Settings, tenants: Sequence[TenantLocation], *, rounds: int
) -> list[Figure]:
    """All of them quiet but for a tenth; until the last mark is gone."""
    dirty = tenants[::10]
    total = len(dirty) * _EVENTS
    publisher = KafkaPublisher(settings)
    counted = _Counted(publisher)
    ours: list[_Took] = []
    bare: list[_Took] = []
    with _running_relay(stage, settings, counted, tenants), _one_table(stage) as table:
        for number in range(-1, rounds):
            for turn in ("relay", "bare") if number % 2 else ("bare", "relay"):
                if turn == "bare":
                    table.execute("TRUNCATE outbox")
                    table.execute(_ROWS.encode(), (total,))
                    once = _timed(partial(_produce, table, publisher))
                    if number >= 0:
                        bare.append(once)
                    continue
                for tenant in dirty:
                    with stage.manager.server.connect_as_owner(tenant.database) as connection:
                        connection.execute("TRUNCATE outbox")
                        connection.execute(_ROWS.encode(), (_EVENTS,))
                counted.expect(total)
                once = _timed(partial(_until_relayed, stage, dirty, counted))
                if number >= 0:
                    ours.append(once)
    publisher.close()
    ratios = [one / other for one, other in zip(ours, bare, strict=True)]
    return [
        ratio("relay / bare loop: throughput", ratios, goal=at_least(0.5)),
        Figure(name="relay", value=median(ours), unit="events/s", note=middle(ours)),
        Figure(name="bare loop", value=median(bare), unit="events/s", note=middle(bare)),
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


def _idling(
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
    ratios = [one / other for one, other in zip(many, few, strict=True)]
    return [
        ratio(
            f"an idle relay, {len(tenants)} quiet tenants / {_QUIET}: processor time",
            ratios,
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


# From one end to the other.


def _latency(
    stage: Stage, settings: Settings, tenants: Sequence[TenantLocation], *, seconds: int
) -> list[Figure]:
    """`relay.py` and `consumer.py` with all of the product's handlers."""
    owner = ids.new_id()
    for tenant in tenants:
        conninfo = stage.manager.server.owner_url(tenant.database)
        fill(
            conninfo,
            first=1,
            last=_PER_SECOND * seconds // len(tenants) + 1,
            owner=owner,
        )
        with psycopg.connect(conninfo, autocommit=True) as connection:
            connection.execute("UPDATE documents SET deleted_at = now(), deleted_by = owner_id")
    environment = stage.environment | {
        "ENABLE_KAFKA_EVENTS": "true",
        "KAFKA_BOOTSTRAP_SERVERS": ",".join(settings.kafka_bootstrap_servers),
    }
    with ExitStack() as stack:
        for program in ("relay.py", "consumer.py"):
            child = stack.enter_context(ChildProcess(_program(stage, program, environment)))
            child.wait_until(lambda child=child: "ready." in child.words(), seconds=60)
        _write_steadily(stage, tenants, owner, 2 * _PER_SECOND)  # warms both up
        _wait_until_handled(stage, tenants)
        begun = _now(stage)
        _write_steadily(stage, tenants, owner, _PER_SECOND * seconds - 2 * _PER_SECOND)
        _wait_until_handled(stage, tenants)
    late = [float(row[0]) for tenant in tenants for row in _ask(stage, tenant, _HANDLED, (begun,))]
    percentiles = quantiles(late, n=100)
    note = f"{len(late)} events, {_PER_SECOND} a second"
    return [
        Figure(name="commit → handler, p50", value=percentiles[49], unit="s", note=note),
        Figure(
            name="commit → handler, p99",
            value=percentiles[98],
            unit="s",
            goal=at_most(1),
        ),
    ]


def _program(stage: Stage, program: str, environment: dict[str, str]) -> Command:
    return Command(
        name=program,
        program=[sys.executable, program],
        log=stage.folder / f"{program}.log",
        folder=anchor.BACKEND,
        environment={"PATH": os.environ.get("PATH", os.defpath), **environment},
    )


def _write_steadily(
    stage: Stage, tenants: Sequence[TenantLocation], owner: UUID, count: int
) -> None:
    """So many writes, spread over the tenants, each at its time."""
    caller = _caller(owner)
    waiting = [
        [
            row[0]
            for row in _ask(stage, each, "SELECT id FROM documents WHERE deleted_at IS NOT NULL")
        ]
        for each in tenants
    ]
    begun = time.perf_counter()

    def write(number: int) -> None:
        time.sleep(max(0.0, begun + number / _PER_SECOND - time.perf_counter()))
        place = number % len(tenants)
        with stage.manager.tenant_db_session(tenants[place]) as session:
            trash.restore_document(
                session,
                caller=caller,
                document_id=waiting[place][number // len(tenants)],
            )

    with ThreadPoolExecutor(_BUILDERS) as pool:
        futures = [pool.submit(copy_context().run, write, number) for number in range(count)]
        for each in futures:
            each.result()


def _wait_until_handled(stage: Stage, tenants: Sequence[TenantLocation]) -> None:
    left = (
        "SELECT count(*) FROM outbox o WHERE NOT EXISTS (SELECT FROM inbox i"
        " WHERE i.event_id = o.id AND i.consumer = 'activity.feed')"
    )
    deadline = time.monotonic() + _PATIENCE
    while any(_ask(stage, each, left)[0][0] for each in tenants):
        if time.monotonic() > deadline:
            raise EmbeddedError("Some events were not handled.")
        time.sleep(0.5)


def _now(stage: Stage) -> Any:
    with psycopg.connect(stage.admin_url) as connection:
        return connection.execute("SELECT clock_timestamp()").fetchall()[0][0]


def _ask(
    stage: Stage, tenant: TenantLocation, query: str, values: Sequence[Any] = ()
) -> list[tuple[Any, ...]]:
    with stage.manager.server.connect_as_owner(tenant.database) as connection:
        return connection.execute(query.encode(), values).fetchall()


@dataclass(frozen=True, slots=True)
class _Took:
    """Time, and processor time of this process, which depends less on what else goes on."""

    seconds: float
    cpu: float


def _timed(work: Callable[[], object]) -> _Took:
    start, cpu = time.perf_counter(), time.process_time()
    work()
    return _Took(time.perf_counter() - start, time.process_time() - cpu)


def _ratios(name: str, peer: Sequence[_Took], own: Sequence[_Took], bound: float) -> list[Figure]:
    pairs = list(zip(peer, own, strict=True))
    return [
        ratio(
            f"{name}: throughput", [p.seconds / o.seconds for p, o in pairs], goal=at_least(bound)
        ),
        ratio(f"{name}: by processor time", [p.cpu / o.cpu for p, o in pairs]),
    ]
