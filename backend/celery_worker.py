"""The job process: ``celery -A celery_worker:celery worker -Q default,documents,…``."""

from typing import Any

from celery.signals import heartbeat_sent, setup_logging, worker_process_init

from app.core import db, logs
from app.core.heartbeat import Heartbeat
from app.core.tasks import QUEUES as QUEUES  # noqa: PLC0414  # who starts us asks for them
from app.factory import create_process
from app.settings import load_settings
from app.tenancy.startup import check_process

settings = load_settings(for_jobs=True)
app = create_process(settings, "celery-worker")
check_process(app, settings)
celery = app.extensions["celery"]


@setup_logging.connect
def _log_as_json(**_: Any) -> None:
    logs.configure()


_heartbeat = Heartbeat(settings)


@heartbeat_sent.connect
def _tell_that_we_live(**_: Any) -> None:
    """Celery sends one every two seconds, for as long as it has its broker."""
    _heartbeat.beat()


@worker_process_init.connect
def _forget_the_parents_connections(**_: Any) -> None:
    with app.app_context():
        db.forget_connections()
        app.extensions["tenancy"].forget_connections()
        if vault := app.extensions["vault"]:
            vault.forget_connections()
