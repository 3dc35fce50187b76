"""Looking for what belongs to one tenant, and for secrets, wherever they should not be."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import redis
from kafka import KafkaConsumer, TopicPartition

from app.core.catalogue import TOPICS
from tests.faults.stage import Stage

_TRACE: Final = re.compile(r'"trace":|Traceback \(most recent call last\)')
# kafka-python tells of its connections as it likes.
_THEIRS: Final = '"logger":"kafka.'
_BATCH: Final = 1000


def strangers(stage: Stage) -> list[str]:
    """Canaries in places that are another's, or nobody's."""
    return [
        *_in_databases(stage),
        *_in_objects(stage),
        *_in_redis(stage),
        *_in_kafka(stage),
        *in_logs(stage),
    ]


def _in_databases(stage: Stage) -> Iterator[str]:
    """Of the main one's rows, only those that name the tenant, or a person of it, may hold it."""
    for database in stage.databases:
        with stage.as_superuser(database) as connection:
            for table, text in _rows_with_canaries(connection):
                for tenant in stage.tenants:
                    named = (
                        tenant.house.database,
                        str(tenant.house.id),
                        str(tenant.person.user_id),
                    )
                    own = tenant.house.database == database or any(each in text for each in named)
                    if tenant.canary in text and not own:
                        yield f"{tenant.house.slug}'s in {database}, {table}"


def _rows_with_canaries(connection: Any) -> Iterator[tuple[str, str]]:
    tables = connection.execute(
        "SELECT oid::regclass::text FROM pg_class"
        " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    ).fetchall()
    for (table,) in tables:
        found = f"SELECT t::text FROM {table} AS t WHERE strpos(t::text, 'canary') > 0"
        for (text,) in connection.execute(found.encode()):
            yield table, text


def _in_objects(stage: Stage) -> Iterator[str]:
    bucket = stage.servers.objects / str(stage.settings.s3_bucket)
    for path in bucket.rglob("*"):
        if path.is_file():
            place, content = str(path.relative_to(bucket)), path.read_bytes()
            for tenant in stage.tenants:
                own = place.startswith(f"tenants/{tenant.house.database}/")
                if not own and (tenant.canary.encode() in content or tenant.canary in place):
                    yield f"{tenant.house.slug}'s in the object {place}"


def _in_redis(stage: Stage) -> Iterator[str]:
    """Nobody's belong there."""
    with redis.Redis.from_url(stage.servers.redis.url) as client:
        for key in client.scan_iter(count=_BATCH):
            content = bytes(key) + (client.dump(key) or b"")
            for tenant in stage.tenants:
                if tenant.canary.encode() in content:
                    yield f"{tenant.house.slug}'s in Redis, {key!r}"


def _in_kafka(stage: Stage) -> Iterator[str]:
    for topic, key, value in messages(stage):
        for tenant in stage.tenants:
            if tenant.canary.encode() in value and key != str(tenant.house.id):
                yield f"{tenant.house.slug}'s in {topic}, under {key}"


def messages(stage: Stage) -> Iterator[tuple[str, str, bytes]]:
    """Topic, key and value of all that lies in Kafka; of one partition in order."""
    settings = stage.settings
    consumer = KafkaConsumer(
        bootstrap_servers=[*settings.kafka_bootstrap_servers],
        consumer_timeout_ms=5000,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    try:
        places = [
            TopicPartition(f"{settings.topic_prefix}.{topic}", number)
            for topic in TOPICS
            for number in range(settings.topic_partitions)
        ]
        ends = {place: end for place, end in consumer.end_offsets(places).items() if end}
        consumer.assign(list(ends))
        while ends:
            for place, records in consumer.poll(timeout_ms=500, max_records=_BATCH).items():
                for record in records:
                    yield record.topic, (record.key or b"").decode(errors="replace"), record.value
                if consumer.position(place) >= ends[place]:
                    ends.pop(place, None)
    finally:
        consumer.close()


def in_logs(stage: Stage) -> Iterator[str]:
    """Canaries and secrets, of anybody."""
    hidden = {f"{tenant.house.slug}'s canary": tenant.canary for tenant in stage.tenants}
    hidden |= {f"secret {number}": secret for number, secret in enumerate(sorted(stage.secrets))}
    for path in stage.programs.logs():
        with path.open(encoding="utf-8", errors="replace") as log:
            for number, line in enumerate(log, 1):
                for name, text in hidden.items():
                    if text in line:
                        yield f"{name} in {path.name}, line {number}"


def lengths(stage: Stage) -> dict[Path, int]:
    """How much is in each log."""
    return {path: path.stat().st_size for path in stage.programs.logs()}


def traces(stage: Stage, *, after: dict[Path, int]) -> list[str]:
    """Later lines with a stack trace: that a part is away is no surprise, and told in a line."""
    found = []
    for path in stage.programs.logs():
        with path.open(encoding="utf-8", errors="replace") as log:
            log.seek(after.get(path, 0))
            found += [
                f"{path.name}: {line[:600]}"
                for line in log
                if _TRACE.search(line) and _THEIRS not in line
            ]
    return found
