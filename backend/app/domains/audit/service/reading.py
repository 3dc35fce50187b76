"""Reading trails, page by page; that somebody has read is recorded too.

What concerns a tenant lies in two trails: its own, and the platform's, which has its members. Ids
are ordered by time in both, so that two ordered pages make one.
"""

from collections.abc import Iterable, Sequence
from heapq import merge
from itertools import islice
from operator import attrgetter
from typing import Final
from uuid import UUID

from sqlalchemy.orm import Session

from app.core import events
from app.core.db import MainSession
from app.core.http import OpenPlane
from app.core.pages import Cursors, Page, page_of
from app.domains.audit import queries
from app.domains.audit.events import TrailRead
from app.domains.audit.models import Entry, PlatformEntry, TenantEntry
from app.domains.audit.queries import Filters
from app.domains.audit.service import platform_checkpoints
from app.domains.audit.service.checkpoints import Checkpoint, checkpoint_of
from app.integrations.storage import Storage

_MOST_CHECKPOINTS: Final = 100


def list_entries(
    open_session: OpenPlane, *, filters: Filters, cursors: Cursors, cursor: str | None, limit: int
) -> Page[Entry]:
    """What happened in the tenant and to it, newest first."""
    after = None if cursor is None else cursors.load(cursor)
    with open_session("main") as main:
        others = queries.entries(main, PlatformEntry, filters, after=after, limit=limit + 1)
    with open_session("tenant") as session:
        own = queries.entries(session, TenantEntry, filters, after=after, limit=limit + 1)
        both: Iterable[Entry] = merge(others, own, key=attrgetter("id"), reverse=True)
        rows = list(islice(both, limit + 1))
        return _page(session, rows, filters, cursors, limit)


def list_platform_entries(
    session: MainSession, *, filters: Filters, cursors: Cursors, cursor: str | None, limit: int
) -> Page[Entry]:
    """The whole of the platform's trail, for its administrators; newest first."""
    after = None if cursor is None else cursors.load(cursor)
    rows = queries.entries(session, PlatformEntry, filters, after=after, limit=limit + 1)
    return _page(session, rows, filters, cursors, limit)


def list_checkpoints(
    session: MainSession,
    *,
    installation: str,
    tenant_id: UUID,
    cursors: Cursors,
    cursor: str | None,
    limit: int,
) -> Page[Checkpoint]:
    """Those of the tenant's trail, newest first: to be kept where nobody else can reach them."""
    after = None if cursor is None else cursors.load(cursor)
    rows = queries.checkpoints(session, tenant_id, after=after, limit=limit + 1)
    page = page_of(rows, limit=limit, cursors=cursors, id_of=attrgetter("id"))
    return Page([checkpoint_of(installation, row) for row in page.items], page.next_cursor)


def list_platform_checkpoints(storage: Storage) -> Sequence[Checkpoint]:
    """Those of the platform's trail, newest first; a hundred at most.

    Raises:
        StorageUnavailable: they lie in the store.
    """
    return list(platform_checkpoints.newest(storage, limit=_MOST_CHECKPOINTS))


def _page(
    session: Session, rows: Sequence[Entry], filters: Filters, cursors: Cursors, limit: int
) -> Page[Entry]:
    """The first of the rows; told after they were read, so that no reading tells of itself."""
    page = page_of(rows, limit=limit, cursors=cursors, id_of=attrgetter("id"))
    told = TrailRead(tenant_id=filters.tenant_id, filters=filters.given(), entries=len(page.items))
    events.record(session, told)
    return page
