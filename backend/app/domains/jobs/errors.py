"""Errors of due work."""

from app.core.errors import Conflict, NotFound


class JobNotFound(NotFound):
    code = "job_not_found"


class JobNotOver(Conflict):
    """The job waits or runs: it needs no second start."""

    code = "job_not_over"


class JobIsOver(Conflict):
    code = "job_is_over"
