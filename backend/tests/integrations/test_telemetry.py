"""One trace through request, statements, store, event and job; and nobody's data in it."""

import io
import logging
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

import orjson
import pytest
from flask import Flask
from kombu import pools
from opentelemetry.sdk.trace import TracerProvider
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from app.core import tracing
from app.core.cloudevents import CloudEvent
from app.core.db import main_session
from app.core.http import PUBLIC, endpoint
from app.core.logs import JsonFormatter
from app.core.messages import Message
from app.domains.outbox.service.delivery import Delivery
from app.factory import create_process
from app.integrations import telemetry
from app.integrations.kafka import KafkaPublisher, ensure_topics
from app.integrations.storage.contract import ObjectMissing
from app.settings import InvalidSettings, Settings
from tests.cast import PASSWORD, House, Person, new_house, new_person
from tests.core.apps import another_app
from tests.core.live import running_worker
from tests.domains.documents.files import upload
from tests.domains.outbox.conftest import Kept, outboxes_into
from tests.domains.outbox.test_kafka import with_kafka
from tests.integrations.collector import Collector, Received, collecting
from tests.integrations.stores import ready, settings_for
from tests.paths import BACKEND
from tests.tenancy.laboratory import until

# What is in no span, wherever somebody wrote it.
CANARY = "canary-of-acme"
# What may be: who adds one has thought about it.
ATTRIBUTES = {
    *("db.operation.name", "db.system.name", "error.type", "http.request.method"),
    *("http.response.status_code", "http.route", "messaging.batch.message_count"),
    *("messaging.system", "rpc.method", "rpc.service", "rpc.system", "tenantry.event"),
}


@dataclass
class Traced:
    """This process, whose spans a collector gets."""

    collector: Collector
    provider: TracerProvider

    def spans(self, trace: str) -> list[Received]:
        assert self.provider.force_flush()
        return self.collector.of(trace)


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture
def traced(settings: Settings, collector: Collector) -> Iterator[Traced]:
    provider = telemetry.start(with_tracing(settings, collector), process="api")
    try:
        yield Traced(collector, provider)
    finally:
        tracing.install(None)
        provider.shutdown()


def with_tracing(settings: Settings, collector: Collector) -> Settings:
    return settings.model_copy(update={"tracing_endpoint": collector.url})


@pytest.fixture
def own(settings: Settings) -> Settings:
    """With a Redis database that nobody else's worker uses."""
    url, _, database = settings.redis_url.get_secret_value().rpartition("/")
    return settings.model_copy(update={"redis_url": SecretStr(f"{url}/{15 - int(database)}")})


@pytest.fixture
def sender(traced: Traced, own: Settings, app: Flask) -> Iterator[Flask]:
    """Its engines are made after the tracer, as a process's are."""

    def fails() -> None:
        raise LookupError(CANARY)

    forget_pools()
    with another_app(own) as sender:
        sender.add_url_rule("/fails", view_func=endpoint(allow=PUBLIC, transaction=None)(fails))
        with sender.extensions["celery"].connection_for_write() as connection:
            connection.default_channel.client.flushdb()
        yield sender
        sender.extensions["celery"].pool.force_close_all()
        forget_pools()


def forget_pools() -> None:
    """Kombu keeps them by their address, the closed ones too."""
    pools.connections.clear()
    pools.producers.clear()


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What a process writes from here on."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield stream
    root.setLevel(level)
    root.removeHandler(handler)


@pytest.fixture
def alice(sender: Flask) -> Person:
    with sender.app_context():
        return new_person(sender, "Alice")


@pytest.fixture
def house(sender: Flask, alice: Person) -> House:
    with sender.app_context():
        return new_house("acme", alice)


def new_trace() -> tuple[str, dict[str, str]]:
    trace = token_hex(16)
    return trace, {"traceparent": f"00-{trace}-{token_hex(8)}-01"}


def test_one_trace_from_the_request_to_what_follows_from_it(
    *,
    traced: Traced,
    sender: Flask,
    alice: Person,
    house: House,
    settings: Settings,
) -> None:
    trace, headers = new_trace()
    file = (io.BytesIO(CANARY.encode()), f"{CANARY}.txt", "text/plain")
    answer = alice.post(house.documents, data={"file": file}, headers=headers)
    assert answer.status_code == 201
    kept = Kept()
    with sender.app_context():
        outboxes_into(sender, kept).send(str(house.id))
        event = CloudEvent.loads(kept.messages[0].value)
        assert (event.traceparent or "").split("-")[1] == trace
        assert "traceparent" not in event.data
        Delivery(settings, open_tenant=sender.extensions["open_tenant"]).receive(kept.messages[0])
    spans = traced.spans(trace)
    (request,) = (each for each in spans if each.name.startswith("POST "))
    assert request.attributes == {
        "http.request.method": "POST",
        "http.route": "/api/tenants/<tenant:tenant_id>/documents",
        "http.response.status_code": "201",
    }
    inside = {each.name for each in spans if each.parent == request.span}
    assert {"SELECT", "INSERT", "UPDATE"} <= inside
    handled = {each.span for each in spans if each.name.startswith("handle ")}
    assert any(each.name == "INSERT" and each.parent in handled for each in spans)
    assert_nothing_is_told(traced.collector, house)


def assert_nothing_is_told(collector: Collector, house: House) -> None:
    for span in collector.spans:
        assert span.attributes.keys() <= ATTRIBUTES, span.name
    told = b"".join(collector.bodies)
    assert b"http.route" in told
    for secret in (CANARY, PASSWORD, str(house.id), house.database, "alice"):
        assert secret.encode() not in told


def test_a_job_goes_on_with_the_trace_in_its_worker(
    *,
    traced: Traced,
    sender: Flask,
    alice: Person,
    house: House,
    own: Settings,
    tmp_path: Path,
) -> None:
    path = f"{house.documents}/{upload(alice, house)['id']}"
    trace, headers = new_trace()
    with running_worker(with_tracing(own, traced.collector), tmp_path):
        assert alice.delete(path, headers=headers).status_code == 204
        purged = path.replace("documents/", "documents/trash/")
        assert alice.delete(purged, headers=headers).status_code == 204

        def is_told() -> bool:
            return any(
                each.service == "tenantry-celery-worker" and each.name.startswith("job ")
                for each in traced.spans(trace)
            )

        until(is_told, "the job's span")
    assert_nothing_is_told(traced.collector, house)


def test_log_lines_name_the_trace_and_failures_their_type(
    traced: Traced, sender: Flask, alice: Person, house: House, log: io.StringIO
) -> None:
    trace, headers = new_trace()
    assert alice.get("/fails", headers=headers).status_code == 500
    alice.get(house.documents)
    lines = [orjson.loads(line) for line in log.getvalue().splitlines()]
    (line,) = (each for each in lines if each.get("route") == "/fails")
    assert line["trace_id"] == trace
    (other,) = (each for each in lines if each.get("route", "").endswith("/documents"))
    assert other["trace_id"] not in {"", trace}, "who brings none gets a new one"
    with (
        pytest.raises(ProgrammingError),
        tracing.span("a block", kind="server", parent=headers["traceparent"]),
        sender.app_context(),
        main_session() as session,
    ):
        session.execute(text(f"SELECT '{CANARY}' FROM nowhere"))
    failed = {each.name: each for each in traced.spans(trace) if each.failed}
    assert failed["SELECT"].attributes["error.type"] == "UndefinedTable"
    assert failed["a block"].attributes["error.type"] == "ProgrammingError"
    assert_nothing_is_told(traced.collector, house)


def test_nobody_outside_decides_how_much_is_sent(settings: Settings, collector: Collector) -> None:
    few = with_tracing(settings, collector).model_copy(update={"tracing_ratio": 0.0})
    provider = telemetry.start(few, process="api")
    try:
        trace, headers = new_trace()
        with tracing.span("asked for", kind="server", parent=headers["traceparent"]):
            assert (tracing.traceparent() or "").split("-")[1:4:2] == [trace, "00"]
        with tracing.span("garbage", kind="server", parent="00-zz"):
            assert tracing.traceparent() is not None
        assert provider.force_flush()
        assert collector.spans == []
    finally:
        tracing.install(None)
        provider.shutdown()


def test_calls_of_the_store_are_parts(
    traced: Traced, server_urls: dict[str, str], tmp_path: Path
) -> None:
    store = ready(settings_for("s3", tmp_path, server_urls.get("s3", "")))
    trace, headers = new_trace()
    with (
        tracing.span("a block", kind="server", parent=headers["traceparent"]),
        pytest.raises(ObjectMissing),
    ):
        store.open("health/probe")
    spans = {each.name: each.attributes for each in traced.spans(trace)}
    assert spans["a block"] == {}
    assert spans["S3 HeadObject"] == {
        "rpc.system": "aws-api",
        "rpc.service": "S3",
        "rpc.method": "HeadObject",
        "http.response.status_code": "404",
    }


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_what_kafka_is_sent_is_a_span(
    traced: Traced, server_urls: dict[str, str], settings: Settings
) -> None:
    if not server_urls.get("kafka"):
        pytest.skip("needs Kafka: scripts/services.py run")
    through = with_kafka(settings, server_urls["kafka"])
    ensure_topics(through, ["events"], add_partitions=False, check=False)
    publisher = KafkaPublisher(through)
    trace, headers = new_trace()
    with tracing.continued(headers["traceparent"]):
        publisher.publish([Message(topic="events", key="k", value=CANARY.encode())])
    publisher.close()
    (span,) = traced.spans(trace)
    assert (span.name, span.attributes) == (
        "publish",
        {"messaging.system": "kafka", "messaging.batch.message_count": "1"},
    )


def test_without_a_collector_nothing_is_made(app: Flask) -> None:
    assert not tracing.is_on()
    assert tracing.traceparent() is None
    first = tracing.span("a block", kind="server")
    assert tracing.span("another", kind="client") is first is tracing.part("a part")
    loaded = "import sys, app.factory; sys.exit('opentelemetry.exporter' in sys.modules)"
    subprocess.run([sys.executable, "-c", loaded], cwd=BACKEND, check=True, timeout=60)


def test_a_process_that_cannot_tell_does_not_start(
    settings: Settings, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "app.integrations.telemetry")
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(InvalidSettings, match="TRACING_ENDPOINT needs opentelemetry"):
        create_process(with_tracing(settings, collector), "api")
