"""The verbs of the feed."""

from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from app.core import clock
from app.core.cloudevents import CloudEvent
from app.core.db import main_session
from app.core.pages import Cursors, Page, page_of
from app.domains.activity import queries
from app.domains.activity.models import Activity
from app.domains.jobs import service as jobs
from app.tenancy.sessions import TenantSession

_BATCH: Final = 5000


def note(session: TenantSession, event: CloudEvent, *, kept: timedelta) -> None:
    """The first of a month sees to it that the month is forgotten when its time has come."""
    newest = queries.newest(session)
    if newest is None or newest < _month(event.time):
        _promise_purge(session.location.tenant_id, event.time, kept)
    session.add(
        Activity(
            id=event.id,
            occurred_at=event.time,
            type=event.type,
            subject=event.subject,
            actor_id=event.actorid,
            data=event.data,
        )
    )


def list_activities(
    session: TenantSession,
    *,
    cursors: Cursors,
    cursor: str | None,
    limit: int,
    type: str | None,  # noqa: A002  # what the query calls it
) -> Page[Activity]:
    """What happened in the tenant, newest first."""
    after = None if cursor is None else cursors.load(cursor)
    rows = queries.activities(session, after=after, type_=type, limit=limit + 1)
    return page_of(rows, limit=limit, cursors=cursors, id_of=lambda row: row.id)


def purge(session: TenantSession, *, kept: timedelta) -> None:
    """Deletes what happened longer ago."""
    while queries.purge(session, before=clock.now() - kept, limit=_BATCH) == _BATCH:
        pass


def _promise_purge(tenant_id: UUID, moment: datetime, kept: timedelta) -> None:
    """Committed before what it is to delete: twice does no harm, and never does."""
    month = _month(moment)
    next_month = _month(month + timedelta(days=31))
    with main_session(tenant_id=tenant_id) as main:
        jobs.schedule_once(
            main,
            "activity.purge",
            slot=f"{month:%Y-%m}",
            due_at=next_month + kept,
            tenant_id=tenant_id,
        )


def _month(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
