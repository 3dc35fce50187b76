"""Reading a trail, page by page."""

from app.core.pages import Cursors, Page, page_of
from app.domains.audit import queries
from app.domains.audit.models import TenantEntry
from app.tenancy.sessions import TenantSession


def list_entries(
    session: TenantSession, *, cursors: Cursors, cursor: str | None, limit: int
) -> Page[TenantEntry]:
    """What happened to the tenant's data, newest first."""
    after = None if cursor is None else cursors.load(cursor)
    rows = queries.entries(session, after=after, limit=limit + 1)
    return page_of(rows, limit=limit, cursors=cursors, id_of=lambda row: row.id)
