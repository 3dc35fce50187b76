"""The verbs of the audit trail."""

from typing import Final

import orjson
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core import ids
from app.core.db import MainSession, main_session
from app.core.events import Event, Origin
from app.core.pages import Cursors, Page, page_of
from app.domains.audit import queries
from app.domains.audit.models import TenantEntry
from app.tenancy.sessions import TenantSession

# SECURITY DEFINER functions of the migrations: the only way into the trail.
_IN_TENANT: Final = text(
    "SELECT audit_append(:id, :type, :target, :user_id, :session_id, :address, :request_id,"
    " :task, CAST(:details AS jsonb))"
)
_IN_MAIN: Final = text(
    "SELECT audit_append(:id, :type, :target, :user_id, :session_id, :address, :request_id,"
    " :task, CAST(:details AS jsonb), :tenant_id)"
)


def append(session: Session, event: Event, origin: Origin) -> None:
    """A `app.core.events.Recorder`: the event's row, in the transaction of the change."""
    row = {
        "id": ids.new_id(),
        "type": event.type,
        "target": str(event.target_id),
        "user_id": origin.user_id,
        "session_id": origin.session_id,
        "address": origin.address,
        "request_id": origin.request_id,
        "task": origin.task,
        "details": orjson.dumps(event.details()).decode(),
    }
    if isinstance(session, MainSession):
        session.execute(_IN_MAIN, row | {"tenant_id": _tenant(session, event)})
    elif isinstance(session, TenantSession) and session.location.read_only:
        # Who reads in a tenant that nothing can be written to is the platform's to remember.
        with main_session(tenant_id=session.tenant_id) as main:
            main.execute(_IN_MAIN, row | {"tenant_id": session.tenant_id})
    else:
        session.execute(_IN_TENANT, row)


def list_entries(
    session: TenantSession, *, cursors: Cursors, cursor: str | None, limit: int
) -> Page[TenantEntry]:
    """What happened to the tenant's data, newest first."""
    after = None if cursor is None else cursors.load(cursor)
    rows = queries.entries(session, after=after, limit=limit + 1)
    return page_of(rows, limit=limit, cursors=cursors, id_of=lambda row: row.id)


def _tenant(session: MainSession, event: Event) -> object:
    return getattr(event, "tenant_id", None) or session.tenant_id
