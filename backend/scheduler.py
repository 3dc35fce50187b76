"""The scheduling process: ``python scheduler.py``. Several may run at once.

It writes periodic jobs and tells workers of those whose time has come; docs/decisions/0011 says
why it is no Celery beat.
"""

import logging
import signal
import sys
import time
from typing import Any

from app.core import logs
from app.core.heartbeat import Heartbeat
from app.core.outages import log_failure
from app.domains.jobs.service import rounds
from app.factory import create_process
from app.settings import load_settings
from app.tenancy.startup import check_process

logger = logging.getLogger("scheduler")


def main() -> None:
    logs.configure()
    settings = load_settings(for_jobs=True)
    app = create_process(settings, "celery-beat")
    check_process(app, settings)
    signal.signal(signal.SIGTERM, stop)
    heartbeat = Heartbeat(settings)
    logger.info("scheduler ready.")
    while True:
        try:
            with app.app_context():
                rounds.run_round(settings)
            heartbeat.beat()
        except Exception as error:  # noqa: BLE001  # a later round may go well
            log_failure(logger, "this round failed", error)
        time.sleep(settings.job_sweep_seconds)


def stop(*_: Any) -> None:
    """At any line: a transaction that breaks off is rolled back, and a message is only a hint."""
    sys.exit()


if __name__ == "__main__":
    main()
