"""Programs without a protection, which the checks have to catch: python careless.py <which>."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import consumer
import relay
from app.domains.outbox import queries
from app.integrations.kafka import KafkaPublisher


def _relay_that_trusts() -> None:
    """Believes that the brokers have what they were never sent, and dies once that is noted."""
    mark_sent = queries.mark_sent
    marked: list[Any] = []

    def mark(session: Any, event_ids: Any) -> None:
        mark_sent(session, event_ids)
        marked.append(event_ids)

    def publish(_self: KafkaPublisher, _messages: Any) -> None:
        if marked:
            os.kill(os.getpid(), signal.SIGKILL)

    queries.mark_sent = mark  # type: ignore[assignment]
    KafkaPublisher.publish = publish  # type: ignore[assignment,method-assign]
    relay.main()


def _relay_that_forgets() -> None:
    """Dies between publishing and noting it, so that everything is sent once more."""
    queries.mark_sent = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    relay.main()


def _consumer_without_inbox() -> None:
    """Does again what it is told again."""
    queries.claim = lambda *_, **__: True
    consumer.main()


PROGRAMS: Final[dict[str, Callable[[], None]]] = {
    "relay that trusts": _relay_that_trusts,
    "relay that forgets": _relay_that_forgets,
    "consumer without inbox": _consumer_without_inbox,
}

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]]()
