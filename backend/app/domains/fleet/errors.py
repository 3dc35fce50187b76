"""What can go wrong with the fleet."""

from app.core.errors import Conflict, NotFound, Unprocessable


class RunInProgress(Conflict):
    """One run at a time, over all processes."""

    code = "migration_in_progress"


class NothingToResume(NotFound):
    """No run of migrations was broken off."""

    code = "nothing_to_resume"


class BadOrder(Unprocessable):
    """What was asked for is no migration that can be planned."""

    code = "bad_migration_order"


class RunNotFound(NotFound):
    """There is no such run of migrations."""

    code = "migration_run_not_found"


class NotResumable(Conflict):
    """The run has left nothing to do, a newer one was begun since, or it is under way."""

    code = "migration_not_resumable"
