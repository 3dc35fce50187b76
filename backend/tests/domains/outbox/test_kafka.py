"""The way through a real Kafka: in order, each effect once, whatever is killed or away."""

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from pathlib import Path
from threading import Event, Thread

import pytest
from flask import Flask
from sqlalchemy import select

from app.core import ids
from app.core.catalogue import TOPICS
from app.core.db import platform_session
from app.core.messages import Message
from app.domains.outbox import queries
from app.domains.outbox.models import Undelivered
from app.domains.outbox.service.delivery import Delivery
from app.domains.outbox.service.letters import note_lags
from app.integrations.kafka import KafkaAway, KafkaPublisher, KafkaReader, ensure_topics
from app.settings import Settings
from embedded.kafka import KafkaServer
from embedded.ports import free_port
from embedded.real import kafka_libraries
from tests.cast import House
from tests.core.live import environment_of
from tests.domains.outbox.conftest import Seen, outboxes_into, sell, unsent
from tests.paths import BACKEND, PROJECT
from tests.tenancy.laboratory import until

# What kafka-python could not connect, it does not close.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


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
def reading(settings: Settings, delivery: Delivery) -> Iterator[None]:
    stopping = Event()
    reader = KafkaReader(settings, TOPICS)

    def run() -> None:
        reader.run(delivery.receive, stopping, tell=note_lags)

    thread = Thread(target=copy_context().run, args=(run,))
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
        monkeypatch.setattr(queries, "claim", lambda *_, **__: True)
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
        outboxes_into(context, publisher).send(str(house.id))
        until(lambda: len(seen.numbers(house)) >= 20, "the events")
        until(lambda: not unsent(house), "all to be sent")
    assert seen.numbers(house) == [*range(20)]


def test_while_kafka_is_away_requests_go_on_and_the_outbox_waits(
    *,
    context: Flask,
    house: House,
    through: Settings,
    delivery: Delivery,
    observe: Callable[..., Seen],
    tmp_path: Path,
) -> None:
    seen, port = observe(), free_port()
    own = with_kafka(through, f"127.0.0.1:{port}")
    with publishing(own) as publisher:
        outboxes = outboxes_into(context, publisher)
        sell(house, 1, 2)
        with pytest.raises(KafkaAway):
            outboxes.send(str(house.id))
        sell(house, 3)
        assert unsent(house) == [1, 2, 3]
        with KafkaServer(tmp_path / "kafka", libraries=kafka_libraries(), port=port):
            ensure_topics(own, TOPICS, add_partitions=False, check=False)
            outboxes.send(str(house.id))
            with reading(own, delivery):
                until(lambda: seen.numbers(house) == [1, 2, 3], "the events, in order")
    assert unsent(house) == []


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
