"""Kafka behind a small port: what publishes, what reads, and the topics themselves."""

import logging
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Event, Lock
from typing import Any, Final

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.errors import KafkaError

from app.core import tracing
from app.core.cloudevents import CONTENT_TYPE
from app.core.errors import Unavailable
from app.core.heartbeat import Heartbeat
from app.core.messages import Message
from app.core.outages import log_failure
from app.settings import Settings

logger = logging.getLogger(__name__)

_HEADERS: Final = [("content-type", CONTENT_TYPE.encode())]
_POLL_MS: Final = 500
# So many at a time: to be done with before it stops, and before partitions change hands.
_BATCH: Final = 100
_SESSION_MS: Final = 10_000
_TELL_LAG_EVERY: Final = 5.0
_LONGEST_PAUSE: Final = 5.0

# Messages that have not been read, of each topic without its prefix and each partition.
Lags = Mapping[tuple[str, int], int]


class KafkaAway(Unavailable):
    """The brokers do not answer, or do not take what they are sent."""

    code = "kafka_away"


class _Brokers:
    """How to reach them, and how a topic is named there."""

    def __init__(self, settings: Settings) -> None:
        self.milliseconds = int(settings.kafka_timeout * 1000)
        self._prefix = f"{settings.topic_prefix}."
        self.options: dict[str, Any] = {
            "bootstrap_servers": [*settings.kafka_bootstrap_servers],
            "client_id": f"tenantry-{settings.installation_id}",
            "bootstrap_timeout_ms": self.milliseconds,
            "request_timeout_ms": self.milliseconds,
            "reconnect_backoff_max_ms": 1000,
            "security_protocol": "SSL" if settings.kafka_tls else "PLAINTEXT",
        }
        if settings.kafka_tls:
            roots = settings.kafka_ca_file
            self.options["ssl_context"] = ssl.create_default_context(cafile=roots and str(roots))
        if settings.kafka_username:
            self.options |= {
                "security_protocol": "SASL_SSL" if settings.kafka_tls else "SASL_PLAINTEXT",
                "sasl_mechanism": settings.kafka_sasl_mechanism,
                "sasl_plain_username": settings.kafka_username,
                "sasl_plain_password": settings.kafka_password.get_secret_value(),
            }

    def full(self, topic: str) -> str:
        return self._prefix + topic

    def short(self, topic: str) -> str:
        return topic.removeprefix(self._prefix)


class KafkaPublisher:
    """`app.core.messages.Publisher`: idempotent, acknowledged by all replicas. Threads share it."""

    def __init__(self, settings: Settings) -> None:
        self._brokers = _Brokers(settings)
        self._lock = Lock()
        self._producer: KafkaProducer | None = None

    def publish(self, messages: Sequence[Message]) -> None:
        """Returns once the brokers have all of them.

        Raises:
            KafkaAway: it cannot be said what became of them.
        """
        producer: Any = None
        try:
            told: tracing.Attributes = {
                "messaging.system": "kafka",
                "messaging.batch.message_count": len(messages),
            }
            with tracing.span("publish", kind="producer", attributes=told):
                producer = self._open()
                sent = [
                    producer.send(
                        self._brokers.full(each.topic),
                        key=each.key.encode(),
                        value=each.value,
                        headers=_HEADERS,
                    )
                    for each in messages
                ]
                for each in sent:
                    each.get(timeout=2 * self._brokers.milliseconds / 1000)
        except KafkaError as error:
            self._forget(producer)
            raise KafkaAway(f"Kafka: {type(error).__name__}") from error

    def close(self) -> None:
        self._forget(self._producer)

    def _open(self) -> KafkaProducer:
        with self._lock:
            if self._producer is None:
                self._producer = KafkaProducer(
                    **self._brokers.options,
                    acks="all",
                    enable_idempotence=True,
                    delivery_timeout_ms=2 * self._brokers.milliseconds,
                    max_block_ms=self._brokers.milliseconds,
                    allow_auto_create_topics=False,
                    linger_ms=2,
                )
            return self._producer

    def _forget(self, producer: Any) -> None:
        """What failed is sent again by another: this one shall not send it behind that."""
        with self._lock:
            known = self._producer
            if known is None or known is not producer:
                return
            self._producer = None
        with suppress(KafkaError):
            known.close(timeout=0)


class KafkaReader:
    """One member of the consumer group: every message is handled before its offset is committed."""

    def __init__(self, settings: Settings, topics: Sequence[str]) -> None:
        self._brokers = _Brokers(settings)
        self._topics = [self._brokers.full(topic) for topic in topics]
        self._group = settings.consumer_group
        self._heartbeat = Heartbeat(settings)
        self._told_at = float("-inf")

    def run(
        self,
        handle: Callable[[Sequence[Message]], None],
        stopping: Event,
        *,
        tell: Callable[[Lags], None],
    ) -> None:
        """Until it is told to stop; the messages that it is at are handled first."""
        while not stopping.is_set():
            try:
                with self._member() as consumer:
                    while not stopping.is_set():
                        self._read(consumer, handle, stopping)
                        self._heartbeat.beat()
                        self._tell_lag(consumer, tell)
            except KafkaError as error:
                logger.warning(
                    "Kafka is away", extra={"reason": f"{type(error).__name__}: {error}"}
                )
                stopping.wait(_LONGEST_PAUSE)

    @contextmanager
    def _member(self) -> Iterator[KafkaConsumer]:
        consumer = KafkaConsumer(
            *self._topics,
            **self._brokers.options,
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            allow_auto_create_topics=False,
            max_poll_records=_BATCH,
            session_timeout_ms=_SESSION_MS,
            heartbeat_interval_ms=_SESSION_MS // 3,
        )
        try:
            yield consumer
        finally:
            with suppress(KafkaError):
                consumer.close(autocommit=False, timeout_ms=self._brokers.milliseconds)

    def _read(
        self,
        consumer: KafkaConsumer,
        handle: Callable[[Sequence[Message]], None],
        stopping: Event,
    ) -> None:
        batches = consumer.poll(timeout_ms=_POLL_MS)
        records = [record for batch in batches.values() for record in batch]
        messages = [self._message(record) for record in records]
        if messages and _handled(handle, messages, stopping):
            done = {
                partition: OffsetAndMetadata(batch[-1].offset + 1, "", -1)
                for partition, batch in batches.items()
            }
            self._commit(consumer, done)

    @staticmethod
    def _commit(consumer: KafkaConsumer, done: dict[TopicPartition, OffsetAndMetadata]) -> None:
        """Where it fails, another member reads them again: handling them twice does no harm."""
        try:
            consumer.commit(done)
        except KafkaError as error:
            logger.warning("offsets not committed", extra={"reason": type(error).__name__})

    def _message(self, record: Any) -> Message:
        return Message(
            topic=self._brokers.short(record.topic),
            key=(record.key or b"").decode(errors="replace").replace("\x00", ""),
            value=record.value,
            partition=record.partition,
            offset=record.offset,
        )

    def _tell_lag(self, consumer: KafkaConsumer, tell: Callable[[Lags], None]) -> None:
        now = time.monotonic()
        if now < self._told_at + _TELL_LAG_EVERY:
            return
        self._told_at = now
        lags = {}
        for partition in consumer.assignment():
            end = consumer.highwater(partition)
            if end is not None:
                place = (self._brokers.short(partition.topic), partition.partition)
                lags[place] = max(0, end - consumer.position(partition))
        if lags:
            tell(lags)


def _handled(
    handle: Callable[[Sequence[Message]], None], messages: Sequence[Message], stopping: Event
) -> bool:
    """Whether they are done with. While the main database is away, nobody can tell."""
    pause = 0.25
    while not stopping.is_set():
        try:
            handle(messages)
        except Exception as error:  # noqa: BLE001  # none is lost by any error whatever
            log_failure(logger, "messages were neither handled nor put aside; once more", error)
            stopping.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        else:
            return True
    return False


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic, how many partitions it has, and what was done about that."""

    name: str
    partitions: int
    outcome: str


def ensure_topics(
    settings: Settings, topics: Sequence[str], *, add_partitions: bool, check: bool
) -> list[TopicState]:
    """Makes the topics that are missing; reports those with another number of partitions.

    Adding partitions moves keys to others, so the order of a key's events is broken where the old
    partition is not read to its end yet; and partitions cannot be taken away.

    Raises:
        KafkaAway: the brokers do not answer, or refuse.
    """
    brokers = _Brokers(settings)
    try:
        admin = KafkaAdminClient(**brokers.options)
        try:
            return [
                _ensure(admin, brokers.full(topic), settings, add=add_partitions, check=check)
                for topic in topics
            ]
        finally:
            admin.close()
    except KafkaError as error:
        raise KafkaAway(f"Kafka: {type(error).__name__}: {error}") from error


def _ensure(
    admin: KafkaAdminClient, name: str, settings: Settings, *, add: bool, check: bool
) -> TopicState:
    wanted = settings.topic_partitions
    if name not in admin.list_topics():
        if check:
            return TopicState(name, 0, "missing")
        retention = settings.outbox_retention_days * 24 * 3600 * 1000
        options = {
            "num_partitions": wanted,
            "replication_factor": settings.topic_replicas,
            "configs": {"retention.ms": str(retention)},
        }
        admin.create_topics({name: options}, wait_for_metadata=True)
        return TopicState(name, wanted, "created")
    (described,) = admin.describe_topics([name])
    there = len(described["partitions"])
    if there >= wanted:
        return TopicState(name, there, "right" if there == wanted else "more than wanted")
    if check or not add:
        return TopicState(name, there, "fewer than wanted")
    admin.create_partitions({name: wanted})
    return TopicState(name, wanted, "grown")
