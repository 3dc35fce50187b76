"""The process that does what follows from events: ``python consumer.py``. Several may run.

With Kafka it reads the topics, which `relay.py` fills; without, it takes the events from the
outboxes itself.
"""

import logging
import signal
import sys
from threading import Event, Thread
from typing import Final

from flask import Flask

from app.core import logs
from app.core.catalogue import TOPICS
from app.core.outages import log_failure
from app.domains.outbox.service import letters
from app.domains.outbox.service.delivery import Delivery
from app.domains.outbox.service.relaying import InProcess
from app.factory import create_delivery, create_process, create_relay
from app.integrations.kafka import KafkaReader
from app.settings import Settings, load_settings
from app.tenancy.startup import check_process

logger = logging.getLogger("consumer")

_RETRY_EVERY: Final = 0.5


def main() -> None:
    logs.configure()
    settings = load_settings(for_jobs=True)
    app = create_process(settings, "worker")
    check_process(app, settings)
    stopping = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    delivery = create_delivery(app, settings)
    retrier = Thread(target=retry, args=(app, delivery, stopping), name="retrier")
    retrier.start()
    logger.info("consumer ready.")
    with app.app_context():
        read(app, settings, delivery, stopping)
    retrier.join()
    sys.exit()


def read(app: Flask, settings: Settings, delivery: Delivery, stopping: Event) -> None:
    """Until it is told to stop; what is under way is finished."""
    if settings.enable_kafka_events:
        KafkaReader(settings, TOPICS).run(delivery.receive_all, stopping, tell=letters.note_lags)
        return
    create_relay(app, settings, InProcess(delivery.receive_all)).run(stopping)


def retry(app: Flask, delivery: Delivery, stopping: Event) -> None:
    """What failed before is tried again, beside what is new."""
    while not stopping.wait(_RETRY_EVERY):
        try:
            with app.app_context():
                delivery.retry_due(stopping.is_set)
        except Exception as error:  # noqa: BLE001  # a later round may go well
            log_failure(logger, "this round failed", error)


if __name__ == "__main__":
    main()
