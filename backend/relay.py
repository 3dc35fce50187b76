"""The process that sends events to Kafka: ``python relay.py``. Several share the work."""

import logging
import signal
from threading import Event

from app.core import logs
from app.factory import create_process, create_relay
from app.integrations.kafka import KafkaPublisher
from app.settings import InvalidSettings, load_settings
from app.tenancy.startup import check_process

logger = logging.getLogger("relay")


def main() -> None:
    logs.configure()
    settings = load_settings(for_jobs=True)
    if not settings.enable_kafka_events:
        raise InvalidSettings("ENABLE_KAFKA_EVENTS is false: consumer.py takes the events itself.")
    app = create_process(settings, "relay")
    check_process(app, settings)
    stopping = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    publisher = KafkaPublisher(settings)
    logger.info("relay ready.")
    with app.app_context():
        create_relay(app, settings, publisher).run(stopping)
    publisher.close()


if __name__ == "__main__":
    main()
