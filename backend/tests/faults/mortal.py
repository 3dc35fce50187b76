"""The API as it is, but that a worker dies by the file ``die`` behind a commit that told an event.

No relay is told of the event then: the mark that follows the commit is never set.
"""

import os
import signal
from pathlib import Path

from sqlalchemy import event
from sqlalchemy.orm import Session

from wsgi import app

__all__ = ["app"]

_DIE = Path(os.environ["DIE"])


@event.listens_for(Session, "after_commit")
def _end(session: Session) -> None:
    if session.info.get("outbox_marked") and _DIE.exists():
        _DIE.unlink(missing_ok=True)
        os.kill(os.getpid(), signal.SIGKILL)
