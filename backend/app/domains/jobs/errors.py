"""Errors of due work."""

from app.core.errors import Conflict, NotFound


class JobNotFound(NotFound):
    """There is no such job."""

    code = "job_not_found"


class JobIsRunning(Conflict):
    """A worker has this job."""

    code = "job_is_running"


class JobIsOver(Conflict):
    """The job is done or dropped."""

    code = "job_is_over"
