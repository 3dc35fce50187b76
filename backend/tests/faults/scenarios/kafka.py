"""Kafka away under writes, and messages that are none."""

import json
import time
from collections import defaultdict
from typing import Any

from kafka import KafkaProducer

from tests.faults import canaries, invariants
from tests.faults.servers import until
from tests.faults.stage import Stage
from tests.faults.trial import Figures, Trial, fault
from tests.integrations.faults import Fault


@fault("Kafka away under writes")
def away(trial: Trial) -> Figures:
    """Nobody notices; then the outboxes drain, each in its order."""
    stage = trial.stage
    with trial.load() as journal:
        with stage.servers.broken("kafka", Fault.REFUSE):
            time.sleep(trial.form.kafka_away_seconds)
            held = invariants.waiting(stage)
            assert held, "events left although Kafka was away"
        assert not journal.refused(), journal.refused()
    drained = invariants.drained(stage, seconds=60 * trial.form.patience)
    assert not (found := _out_of_order(stage)), invariants.few(found)
    return {"held back": held, "sent after": drained}


@fault("Kafka's broker killed", short=False)
def killed(trial: Trial) -> Figures:
    stage = trial.stage
    with trial.load() as journal:
        stage.servers.kill(stage.servers.kafka)
        time.sleep(trial.form.away_seconds)
        stage.servers.start(stage.servers.kafka)
        assert not journal.refused(), journal.refused()
    drained = invariants.drained(stage, seconds=60 * trial.form.patience)
    assert not (found := _out_of_order(stage)), invariants.few(found)
    return {"sent after": drained}


@fault("messages that are no events", short=False)
def poison(trial: Trial) -> Figures:
    """Each is a dead letter with its coordinates, and holds nobody up."""
    stage, settings = trial.stage, trial.stage.settings
    key = str(stage.tenants[0].house.id).encode()
    values = [b"{", b"\x00\xff", b"[" * 100_000, b'{"specversion": "9"}', b"null"]
    producer = KafkaProducer(bootstrap_servers=[*settings.kafka_bootstrap_servers])
    with trial.load():
        for value in values:
            producer.send(f"{settings.topic_prefix}.events", key=key, value=value).get(10)
        producer.close()
        until(lambda: _dead_letters(stage, delete=False) == len(values), "the dead letters")
    assert _dead_letters(stage, delete=True) == len(values)
    return {"dead letters": len(values)}


def _dead_letters(stage: Stage, *, delete: bool) -> int:
    verb = "DELETE FROM undelivered_events" if delete else "SELECT FROM undelivered_events"
    with stage.as_superuser(stage.settings.installation_id) as connection:
        done = connection.execute(
            f"{verb} WHERE state = 'dead' AND event_id IS NULL AND \"offset\" IS NOT NULL".encode()
        )
        return done.rowcount


def _out_of_order(stage: Stage) -> list[str]:
    """What was first sent after something later.

    Of all that a tenant's one writer did, and of each file, which a job tells of beside that:
    transactions that overlap have no order.
    """
    sent: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for topic, key, value in canaries.messages(stage):
        try:
            event: Any = json.loads(value)
            thing = event["subject"] if topic.endswith(".files") else topic
            sent[thing, key].setdefault(event["id"])
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    found = []
    for tenant in stage.tenants:
        with stage.as_superuser(tenant.house.database) as connection:
            positions = dict(connection.execute("SELECT id::text, position FROM outbox"))
        for (thing, key), events in sent.items():
            if key == str(tenant.house.id):
                order = [positions[each] for each in events if each in positions]
                if order != sorted(order):
                    found.append(f"{tenant.house.slug}: {thing}")
    return found
