"""Errors of due work."""

from app.core.errors import Conflict, NotFound


class JobNotFound(NotFound):
    code = "job_not_found"


class JobIsRunning(Conflict):
    code = "job_is_running"


class JobIsOver(Conflict):
    code = "job_is_over"
