"""One log line, of logger ``app.auth``, for each event that concerns signing in.

It holds no secret, and no e-mail address: somebody without an account here has a pseudonym.
"""

import logging
from dataclasses import asdict, dataclass
from typing import ClassVar, Final, Literal

from sqlalchemy.orm import Session

from app.core.db import after_commit
from app.core.events import Event, Origin, current_origin

logger: Final = logging.getLogger("app.auth")

_NAMES: Final = {"user_id": "user", "session_id": "session"}


@dataclass(frozen=True, kw_only=True)
class AuthEvent(Event):
    """Base of the events that are logged as well as recorded."""

    outcome: ClassVar[Literal["success", "refused"]] = "success"


def log(session: Session, event: Event, origin: Origin) -> None:
    """A `app.core.events.Recorder`: the event's line, once its transaction is committed."""
    if isinstance(event, AuthEvent):
        after_commit(session, lambda: write(event, origin))


def write(event: AuthEvent, origin: Origin | None = None) -> None:
    """The event's line, at once: for what is only logged, and not recorded."""
    come_from = origin or current_origin()
    line: dict[str, object] = {
        "event": event.type,
        "outcome": event.outcome,
        "user": come_from.user_id,
        "session": come_from.session_id,
        "address": come_from.address,
    }
    line |= {_NAMES.get(name, name): value for name, value in asdict(event).items()}
    level = logging.INFO if event.outcome == "success" else logging.WARNING
    logger.log(level, "%s %s", event.type, event.outcome, extra=line)
