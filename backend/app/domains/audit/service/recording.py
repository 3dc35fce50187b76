"""What the writer of an event does: an entry beside the change, and a job that will seal it."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import orjson
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core import ids
from app.core.db import MainSession, main_session
from app.core.events import Event, Origin
from app.domains.jobs import service as jobs
from app.settings import Settings
from app.tenancy.sessions import TenantSession

# SECURITY DEFINER functions of the migrations: the only way into the trail.
_COLUMNS: Final = (
    ":id, :type, :target, :user_id, :on_behalf_of, :session_id, :address, :request_id, :task,"
    " CAST(:details AS jsonb)"
)
_IN_TENANT: Final = text(f"SELECT audit_record({_COLUMNS})")
_IN_MAIN: Final = text(f"SELECT audit_record({_COLUMNS}, :tenant_id)")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_REMEMBERED: Final = 10_000


class Recorder:
    """A `app.core.events.Recorder`: the event's entry, in the transaction of the change."""

    def __init__(self, settings: Settings) -> None:
        self._spans = Spans(timedelta(seconds=settings.audit_seal_seconds))

    def __call__(self, session: Session, event: Event, origin: Origin) -> None:
        if not event.audited:
            return
        row = row_of(event, origin)
        if isinstance(session, MainSession):
            session.execute(_IN_MAIN, row | {"tenant_id": _tenant(session, event)})
        elif isinstance(session, TenantSession) and session.location.read_only:
            # Who reads in a tenant that nothing can be written to is the platform's to remember.
            with main_session(tenant_id=session.tenant_id) as main:
                main.execute(_IN_MAIN, row | {"tenant_id": session.tenant_id})
        elif isinstance(session, TenantSession):
            recorded_at = session.execute(_IN_TENANT, row).scalar_one()
            # Only now: by the lock that the entry holds, the job sees that it is not committed yet.
            self._spans.promise_seal(session.location.tenant_id, recorded_at)


class Spans:
    """Sees to it that what a tenant records in a span of time is sealed after it.

    One row of the table of jobs for each tenant and span, whoever asks; a process asks once. The
    job is due a whole span after the end, so that clocks may differ by that.
    """

    def __init__(self, length: timedelta) -> None:
        self._length = length
        self._asked: dict[UUID, datetime] = {}

    def promise_seal(self, tenant_id: UUID, recorded_at: datetime) -> None:
        begin = recorded_at - (recorded_at - _EPOCH) % self._length
        if self._asked.get(tenant_id) == begin:
            return
        # Committed before the entry: an entry without its job would never be sealed.
        with main_session(tenant_id=tenant_id) as main:
            ask_for_seal(main, tenant_id, begin, self._length)
        if len(self._asked) >= _MOST_REMEMBERED:
            self._asked.clear()
        self._asked[tenant_id] = begin


def ask_for_seal(session: MainSession, tenant_id: UUID, begin: datetime, length: timedelta) -> None:
    """Asks once for the seal of what is recorded in the span."""
    jobs.schedule_once(
        session,
        "audit.seal",
        slot=begin.isoformat(),
        due_at=begin + 2 * length,
        tenant_id=tenant_id,
        tenant=str(tenant_id),
    )


def row_of(event: Event, origin: Origin) -> dict[str, Any]:
    """What `audit_record` is given, by name."""
    office = {"by_platform": True} if origin.by_platform else {}
    return {
        "id": ids.new_id(),
        "type": event.type,
        "target": str(event.target_id),
        "user_id": origin.user_id,
        "on_behalf_of": origin.on_behalf_of,
        "session_id": origin.session_id,
        "address": origin.address,
        "request_id": origin.request_id,
        "task": origin.task,
        "details": orjson.dumps(event.details() | office).decode(),
    }


def _tenant(session: MainSession, event: Event) -> object:
    return getattr(event, "tenant_id", None) or session.tenant_id
