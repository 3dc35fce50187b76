"""What it costs that events are never lost: writes with their outbox, the relay, how late it is.

The relay sends to a real Kafka, a single node on this machine; beside it, in turns, a bare loop
reads as many rows of one table of one database and produces them with the same producer.
"""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from functools import partial
from statistics import median, quantiles
from typing import Any, Final
from uuid import UUID

import psycopg

import anchor
import relaying
from app.core import ids
from app.core.caller import Caller
from app.core.catalogue import TOPICS
from app.core.db import platform_session
from app.domains.documents.service import trash
from app.domains.identity.service import users
from app.domains.outbox.service.recording import Recorder
from app.domains.tenants.service import lifecycle
from app.domains.tenants.service.directory import TenantRegistry
from app.integrations.kafka import ensure_topics
from app.settings import Settings
from app.tenancy.locations import TenantLocation
from embedded import maven
from embedded.errors import EmbeddedError
from embedded.kafka import KafkaServer
from embedded.process import ChildProcess, Command
from embedded.real import kafka_libraries
from figures import Figure, at_most, middle
from library import fill
from stage import Stage
from turns import Took, ratios, timed

_BUILDERS: Final = 4
_TENANTS: Final = 500
_RELAYED: Final = 200
_WRITES: Final = 100
_PER_SECOND: Final = 100
_QUIET: Final = 20
_PATIENCE: Final = 120.0
# From a little before the commit to the handler's own row, shortly before its commit.
_CLOCK: Final = "ALTER TABLE activities ADD COLUMN noted_at timestamptz DEFAULT clock_timestamp()"
_HANDLED: Final = """
    SELECT extract(epoch FROM a.noted_at - o.recorded_at)
    FROM outbox o JOIN activities a USING (id)
    WHERE o.recorded_at >= %s
"""


def measure(stage: Stage, *, quick: bool) -> list[Figure]:
    with _kafka(stage) as broker, _through(stage, broker) as settings:
        tenants = _build(stage, 60 if quick else _TENANTS)
        relayed = tenants[:_RELAYED]
        rounds = 5 if quick else 15
        return [
            *_writes(stage, tenants[0], rounds=2 * rounds),
            *relaying.throughput(stage, settings, relayed, rounds=rounds),
            *relaying.idle_cost(stage, settings, tenants, seconds=10 if quick else 20),
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
    took: dict[str, list[Took]] = {name: [] for name in ways}
    with psycopg.connect(conninfo, autocommit=True) as connection:
        for number in range(-2, rounds):
            for name in sorted(ways, reverse=number % 2 == 0):
                documents = _throw_away(connection)
                stage.app.extensions["event_recorders"] = ways[name]
                once = timed(partial(_restore_all, stage, tenant, owner, documents))
                if number >= 0:
                    took[name].append(once)
    stage.app.extensions["event_recorders"] = recorders
    each = [1000 * one.seconds / _WRITES for one in took["with"]]
    return [
        *ratios("writes with the outbox / without", took["without"], took["with"], bound=0.8),
        Figure(name="a write with it", value=median(each), unit="ms", note=middle(each)),
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


# From one end to the other.


def _latency(
    stage: Stage, settings: Settings, tenants: Sequence[TenantLocation], *, seconds: int
) -> list[Figure]:
    """`relay.py` and `consumer.py` with all of the product's handlers."""
    owner = ids.new_id()
    # Topics of its own: what the relay sent before is nobody's work here.
    settings = settings.model_copy(update={"topic_prefix": "late", "consumer_group": "late"})
    ensure_topics(settings, TOPICS, add_partitions=False, check=False)
    for tenant in tenants:
        conninfo = stage.manager.server.owner_url(tenant.database)
        last = _PER_SECOND * seconds // len(tenants) + 1
        fill(conninfo, first=_WRITES + 1, last=_WRITES + last, owner=owner)
        with psycopg.connect(conninfo, autocommit=True) as connection:
            connection.execute("TRUNCATE outbox")
            connection.execute(_CLOCK)
            connection.execute("UPDATE documents SET deleted_at = now(), deleted_by = owner_id")
    environment = stage.environment | {
        "ENABLE_KAFKA_EVENTS": "true",
        "KAFKA_BOOTSTRAP_SERVERS": ",".join(settings.kafka_bootstrap_servers),
        "TOPIC_PREFIX": settings.topic_prefix,
        "CONSUMER_GROUP": settings.consumer_group,
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
