"""The verbs of the feed."""

from app.core.cloudevents import CloudEvent
from app.core.pages import Cursors, Page, page_of
from app.domains.activity import queries
from app.domains.activity.models import Activity
from app.tenancy.sessions import TenantSession


def note(session: TenantSession, event: CloudEvent) -> None:
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
