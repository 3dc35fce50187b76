"""What the writer of an event does: a row beside the change, and a mark for the relay."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final
from uuid import UUID

import orjson
from sqlalchemy.orm import Session

from app.core import clock, ids, tracing
from app.core.db import MainSession, PlaneSession, after_commit, main_session
from app.core.events import Event, Origin
from app.core.marks import Marks
from app.tenancy.sessions import TenantSession

MAIN: Final = "main"
# Where a row keeps the span that it came from; no field of an event has this name.
TRACE: Final = "traceparent"

# In the driver's words and handed to it as they are, because every write pays for them.
_COLUMNS: Final = "id, type, subject, actor_id, data, recorded_at"
_VALUES: Final = "%(id)s, %(type)s, %(subject)s, %(actor_id)s, %(data)s::jsonb, %(recorded_at)s"
_IN_TENANT: Final = f"INSERT INTO outbox ({_COLUMNS}) VALUES ({_VALUES})"  # noqa: S608
_IN_MAIN: Final = (
    f"INSERT INTO platform_outbox ({_COLUMNS}, tenant_id, key)"  # noqa: S608
    f" VALUES ({_VALUES}, %(tenant_id)s, %(key)s)"
)
_MARKED: Final = nullcontext()


class Recorder:
    """A `app.core.events.Recorder`: the row of an event that others are told of."""

    def __init__(self, marks: Marks) -> None:
        self._marks = marks

    def __call__(self, session: Session, event: Event, origin: Origin) -> None:
        if event.public_version is None:
            return
        if not isinstance(session, PlaneSession):
            raise TypeError("an event is recorded in a session of a plane")
        row = {
            "id": ids.new_id(),
            "type": event.public_type(),
            "subject": str(event.target_id),
            "actor_id": origin.person,
            "data": orjson.dumps({**event.public_fields(), **_trace()}).decode(),
            "recorded_at": clock.now(),
        }
        if isinstance(session, TenantSession) and session.location.read_only:
            # Nothing can be written beside what somebody does who only reads, such as a link.
            with main_session(tenant_id=session.tenant_id) as main:
                self._write_in_main(main, event, origin, row)
        elif isinstance(session, MainSession):
            self._write_in_main(session, event, origin, row)
        else:
            self._write(session, _IN_TENANT, row)

    def _write_in_main(
        self, session: MainSession, event: Event, origin: Origin, row: dict[str, Any]
    ) -> None:
        tenant_id = getattr(event, "tenant_id", None) or session.tenant_id
        key = tenant_id or getattr(event, "user_id", None) or origin.person or event.target_id
        self._write(session, _IN_MAIN, row | {"tenant_id": tenant_id, "key": str(key)})

    def _write(self, session: PlaneSession, statement: str, row: dict[str, Any]) -> None:
        with self._marking(session):
            session.connection().exec_driver_sql(statement, row)

    def _marking(self, session: PlaneSession) -> AbstractContextManager[None]:
        """Marks the lane before the commit, beside the row, and after the commit.

        The first is there should nobody live to set the second; the second is for a relay that took
        the first and saw nothing yet.
        """
        if session.info.setdefault("outbox_marked", False):
            return _MARKED
        session.info["outbox_marked"] = True
        lane = lane_of(session)
        after_commit(session, lambda: self._marks.set(lane))
        return self._marks.setting(lane)


def _trace() -> dict[str, str]:
    parent = tracing.traceparent()
    return {} if parent is None else {TRACE: parent}


def lane_of(session: PlaneSession) -> str:
    tenant_id: UUID | None = session.tenant_id
    return MAIN if isinstance(session, MainSession) else str(tenant_id)
