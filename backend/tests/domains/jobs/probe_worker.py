"""The job process with the probes: ``celery -A tests.domains.jobs.probe_worker:celery``."""

from app.core.tasks import DEFINITIONS
from celery_worker import celery as celery  # noqa: PLC0414  # started from here
from tests.domains.jobs.probes import PROBES

DEFINITIONS.update(PROBES)
