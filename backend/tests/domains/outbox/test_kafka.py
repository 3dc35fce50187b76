"""The way through a real Kafka: in order, each effect once, whatever is killed or away."""

import gc
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from functools import partial
from pathlib import Path
from threading import Event, Thread, current_thread
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from pydantic import SecretStr
from sqlalchemy import select

from app.core import clock, ids
from app.core.catalogue import TOPICS
from app.core.cloudevents import CloudEvent
from app.core.db import platform_session
from app.core.messages import Message
from app.domains.outbox import queries
from app.domains.outbox.models import Undelivered
from app.domains.outbox.service.delivery import Delivery
from app.domains.outbox.service.letters import note_lags
from app.integrations.kafka import KafkaAway, KafkaPublisher, KafkaReader, ensure_topics
from app.settings import Settings
from embedded.kafka import Guard, KafkaServer
from embedded.ports import free_port
from embedded.real import kafka_libraries
from tests.cast import House
from tests.core.live import environment_of
from tests.domains.outbox.conftest import PlanSold, Seen, outboxes_into, sell, unsent
from tests.paths import BACKEND, PROJECT
from tests.scripts import run_script
from tests.tenancy.laboratory import PATIENCE_SECONDS, until

# What kafka-python could not connect, it does not close.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning"),
]


@pytest.fixture(autouse=True)
def nothing_left_open() -> Iterator[None]:
    """The warnings of this test come within it, and not in whichever test is next."""
    yield
    gc.collect()


@pytest.fixture
def through(server_urls: dict[str, str], settings: Settings) -> Settings:
    """Topics and a group of the test's own."""
    if not server_urls.get("kafka"):
        pytest.skip("needs Kafka: scripts/services.py run")
    return with_kafka(settings, server_urls["kafka"])


def with_kafka(settings: Settings, url: str) -> Settings:
    own = f"t{ids.new_id().hex}"
    changes = {
        "enable_kafka_events": True,
        "kafka_bootstrap_servers": (url,),
        "kafka_timeout": 2.0,
        "topic_prefix": own,
        "topic_partitions": 2,
        "consumer_group": own,
    }
    return settings.model_copy(update=changes)


@pytest.fixture
def topics(through: Settings) -> None:
    ensure_topics(through, TOPICS, add_partitions=False, check=False)


@contextmanager
def reading(settings: Settings, delivery: Delivery, name: str = "reader") -> Iterator[None]:
    stopping = Event()
    reader = KafkaReader(settings, TOPICS)

    def run() -> None:
        reader.run(delivery.receive_all, stopping, tell=note_lags)

    thread = Thread(target=copy_context().run, args=(run,), name=name)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(30)
        assert not thread.is_alive()


@contextmanager
def publishing(settings: Settings) -> Iterator[KafkaPublisher]:
    publisher = KafkaPublisher(settings)
    try:
        yield publisher
    finally:
        publisher.close()


@pytest.mark.parametrize("with_inbox", [True, False])
def test_every_event_twice(
    *,
    context: Flask,
    house: House,
    through: Settings,
    topics: None,
    delivery: Delivery,
    observe: Callable[..., Seen],
    monkeypatch: pytest.MonkeyPatch,
    with_inbox: bool,
) -> None:
    """A group that begins anew has no further effect; without the inbox, it has."""
    seen = observe()
    if not with_inbox:
        monkeypatch.setattr(queries, "claim_all", lambda _, notes: len(notes))
    sell(house, 1, 2, 3)
    with publishing(through) as publisher:
        outboxes_into(context, publisher).send(str(house.id))
        with reading(through, delivery):
            until(lambda: seen.numbers(house) == [1, 2, 3], "the events")
        again = through.model_copy(update={"consumer_group": f"{through.consumer_group}-2"})
        last = observe()
        with reading(again, delivery):
            until(lambda: last.numbers(house) == [1, 2, 3], "all events for the second time")
    assert seen.numbers(house) == ([1, 2, 3] if with_inbox else [1, 2, 3, 1, 2, 3])


def test_what_is_no_event_is_a_dead_letter_with_its_coordinates(
    context: Flask, through: Settings, topics: None, delivery: Delivery
) -> None:
    key = str(ids.new_id())

    def found() -> list[Undelivered]:
        with platform_session() as session:
            return list(session.scalars(select(Undelivered).where(Undelivered.key == key)))

    with publishing(through) as publisher, reading(through, delivery):
        publisher.publish([Message(topic="events", key=key, value=b"{")])
        until(lambda: len(found()) == 1, "the dead letter")
    (letter,) = found()
    assert (letter.state, letter.topic, letter.offset) == ("dead", "events", 0)
    assert letter.partition in {0, 1}


def test_a_killed_relay_loses_nothing(
    *,
    context: Flask,
    house: House,
    through: Settings,
    topics: None,
    delivery: Delivery,
    observe: Callable[..., Seen],
) -> None:
    """Killed before it has marked them as sent; what it sent is sent once more, to one effect."""
    seen = observe()
    sell(house, *range(20))
    program = (
        "import os, signal\n"
        "from app.domains.outbox import queries\n"
        "queries.mark_sent = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "import relay\n"
        "relay.main()\n"
    )
    small = {"main_pool_size": 4, "tenant_connection_budget": 4, "process_count": 2}
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=BACKEND,
        env=environment_of(through.model_copy(update=small)),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL
    assert unsent(house) == [*range(20)]
    with publishing(through) as publisher, reading(through, delivery):
        outboxes = outboxes_into(context, publisher)

        def sent() -> bool:
            outboxes.send(str(house.id))  # nothing, while the server has not missed the killed one
            return not unsent(house)

        until(sent, "all to be sent")
        until(lambda: len(seen.numbers(house)) >= 20, "the events")
    assert seen.numbers(house) == [*range(20)]


@pytest.fixture
def guard(tmp_path: Path) -> Guard:
    assert run_script("generate_certificate.py", "127.0.0.1", "--folder", tmp_path)[0] == 0
    return Guard(tmp_path / "tls.crt", tmp_path / "tls.key", "tenantry", "the brokers' password")


def test_while_kafka_is_away_requests_go_on_and_the_outbox_waits(
    *,
    context: Flask,
    house: House,
    through: Settings,
    delivery: Delivery,
    observe: Callable[..., Seen],
    tmp_path: Path,
    guard: Guard,
) -> None:
    """Until one comes back that wants TLS and a password; who has not both gets nowhere."""
    seen, port = observe(), free_port()
    own = with_kafka(through, f"127.0.0.1:{port}").model_copy(
        update={
            "kafka_tls": True,
            "kafka_ca_file": guard.certificate,
            "kafka_username": guard.username,
            "kafka_password": SecretStr(guard.password),
        }
    )
    with publishing(own) as publisher:
        outboxes = outboxes_into(context, publisher)
        sell(house, 1, 2)
        with pytest.raises(KafkaAway):
            outboxes.send(str(house.id))
        sell(house, 3)
        assert unsent(house) == [1, 2, 3]
        server = KafkaServer(
            tmp_path / "kafka", libraries=kafka_libraries(), port=port, guard=guard
        )
        with server:
            until(partial(has_topics, own), "the users, which the brokers learn a moment later")
            outboxes.send(str(house.id))
            with reading(own, delivery):
                until(lambda: seen.numbers(house) == [1, 2, 3], "the events, in order")
            for mechanism in ("SCRAM-SHA-256", "PLAIN"):
                assert has_topics(own, kafka_sasl_mechanism=mechanism)
            assert not has_topics(own, kafka_timeout=1.0, kafka_password=SecretStr("another"))
            assert not has_topics(own, kafka_timeout=1.0, kafka_ca_file=None)
    assert unsent(house) == []


def has_topics(settings: Settings, **changes: Any) -> bool:
    """Whether the brokers let us in, and say so."""
    try:
        ensure_topics(
            settings.model_copy(update=changes), TOPICS, add_partitions=False, check=False
        )
    except KafkaAway:
        return False
    return True


def test_consumers_come_and_go_under_load(
    context: Flask, through: Settings, delivery: Delivery, observe: Callable[..., Seen]
) -> None:
    """Partitions change hands twice; nothing is lost, nothing done twice, each key in order."""
    own = through.model_copy(update={"topic_partitions": 4})
    ensure_topics(own, TOPICS, add_partitions=False, check=False)
    seen = observe(plane="main")
    keys, handled_by, sent = [ids.new_id() for _ in range(8)], Counter[str](), 0
    seen.failing = lambda _: bool(handled_by.update([current_thread().name]))

    def send_until(condition: Callable[[], bool], what: str, publisher: KafkaPublisher) -> None:
        """Hardly faster than they are handled: there is something under way all the time."""
        nonlocal sent
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain for: {what}"
            if len(seen.events) < (sent - 3) * len(keys):
                time.sleep(0.01)
                continue
            publisher.publish([plan_of(key, sent) for key in keys])
            sent += 1

    with publishing(own) as publisher, ExitStack() as second:
        with reading(own, delivery, name="first"):
            send_until(lambda: handled_by["first"] > 10, "the first", publisher)
            second.enter_context(reading(own, delivery, name="second"))
            send_until(lambda: handled_by["second"] > 10, "the second", publisher)
        before = handled_by["second"]
        send_until(lambda: handled_by["second"] > before + 10, "the one who is left", publisher)
        until(lambda: len(seen.events) >= sent * len(keys), "all that was sent")
    numbers: dict[str, list[int]] = {str(key): [] for key in keys}
    for event in seen.events:
        numbers[event.subject].append(event.data["number"])
    assert numbers == {str(key): [*range(sent)] for key in keys}


def plan_of(key: UUID, number: int) -> Message:
    event = CloudEvent(
        id=ids.new_id(),
        source="http://localhost",
        type=PlanSold.public_type(),
        subject=str(key),
        time=clock.now(),
        data={"number": number},
    )
    return Message(topic="events", key=str(key), value=event.dumps())


def test_the_script_makes_the_topics(through: Settings) -> None:
    def run(*arguments: str, **changes: int) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, str(PROJECT / "scripts" / "init_kafka.py"), *arguments],
            env=environment_of(through.model_copy(update=changes)) | {"HOME": os.environ["HOME"]},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout

    name = f"{through.topic_prefix}.events"
    assert run("--check")[0] == 1
    assert run() == (0, f"{name}: 2 partitions, created\n{name[:-6]}files: 2 partitions, created\n")
    assert f"{name}: 3 partitions, grown" in run("--add-partitions", topic_partitions=3)[1]
