"""A worker that is killed while a customer's server has its request."""

import subprocess
import sys
from threading import Event
from typing import Any

from app.core.db import platform_session
from app.domains.jobs.models import Job, JobState
from app.settings import Settings
from tests.core.live import environment_of
from tests.domains.webhooks.conftest import Scene
from tests.domains.webhooks.receivers import Receiver
from tests.paths import BACKEND
from tests.tenancy.laboratory import until

WORKER = """
import sys
from app.factory import create_app
from app.settings import load_settings

app = create_app(load_settings(for_jobs=True))
app.extensions["celery"].tasks["jobs.run"].apply(kwargs={"job_id": sys.argv[1]}).get()
"""


def test_what_a_killed_worker_was_sending_is_sent_once_more(
    scene: Scene, there: Receiver, settings: Settings
) -> None:
    """Under the same id, by which the customer knows it again; and then no more."""
    endpoint, _ = scene.listen(there.url)
    scene.upload()
    (job,) = [each for each in scene.jobs() if each.name == "webhooks.deliver"]
    killed, came = Event(), Event()

    def hold(_: Any) -> None:
        came.set()
        killed.wait(60)

    there.speak = hold
    changes = {"webhook_allow_loopback": True, "job_lease_seconds": 2}
    environment = environment_of(settings.model_copy(update=changes))
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, str(job.id)], cwd=BACKEND, env=environment
    ) as worker:
        try:
            assert came.wait(60)
        finally:
            worker.kill()
    there.speak = None
    killed.set()
    assert state_of(job) == JobState.RUNNING

    def run_again() -> bool:
        """As a worker does that the scheduler has told, once the dead one's lease is over."""
        scene.app.extensions["celery"].tasks["jobs.run"].apply(kwargs={"job_id": str(job.id)}).get()
        return state_of(job) == JobState.DONE

    until(run_again, "the end of the lease")
    assert len(there.received) == 1  # it may still be under way: the next comes after its time
    scene.let_time_pass()
    scene.work()
    assert len(there.received) == 2
    assert len({each.headers["webhook-id"] for each in there.received}) == 1
    (delivery,) = scene.deliveries(endpoint)
    assert delivery["state"] == "delivered"
    attempts = {each["number"]: each["status"] for each in scene.attempts(endpoint, delivery)}
    assert attempts == {1: None, 2: 204}
    scene.let_time_pass()
    scene.work()
    assert len(there.received) == 2


def state_of(job: Job) -> str:
    with platform_session() as session:
        return session.get_one(Job, job.id).state
