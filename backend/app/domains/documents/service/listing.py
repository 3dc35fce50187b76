"""Lists of documents: filtered, in four orders, page by page; a million are as fast as ten."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from app.core.dumping import Uniform
from app.core.pages import Cursors, Page
from app.domains.documents.queries import listing
from app.domains.documents.service.names import checked_tags
from app.domains.documents.service.processing import folded
from app.tenancy.sessions import TenantRows

_ASCENDING: Final = frozenset({"name"})


def list_documents(
    session: TenantRows,
    *,
    cursors: Cursors,
    cursor: str | None,
    limit: int,
    sort: str | None,
    order: str | None,
    q: str | None = None,
    content_type: str | None = None,
    tags: Sequence[str] = (),
    **others: Any,
) -> Page[dict[str, Any]]:
    """Rows of those documents that all filters let pass; ``others`` as in `listing.FILTERS`.

    ``q`` asks for words of their texts, as PostgreSQL's websearch_to_tsquery reads it.
    ``content_type`` is one (text/plain) or a family of them (image/*). ``sort`` is created, name,
    size, updated or, with ``q``, relevance, which is its default; ``order`` asc or desc, by default
    asc for names, and the newest, largest or best first for the others. Of equals the id decides.
    """
    sort = sort or ("created" if q is None else listing.RELEVANCE)
    filters = others | _types(content_type) | {"tags": checked_tags(tags), "q": q and folded(q)}
    descending = (sort not in _ASCENDING) if order is None else order == "desc"
    query = ["documents", session.tenant_id, sort, descending, filters]
    after = None if cursor is None else _position(sort, cursors.load_position(cursor, query=query))
    rows = listing.page(
        session, sort=sort, descending=descending, after=after, limit=limit + 1, filters=filters
    )
    items = Uniform(map(listing.shown, rows[:limit]))
    if len(rows) <= limit:
        return Page(items, None)
    value, document_id = listing.place(rows[limit - 1], sort)
    ended = [value.isoformat() if isinstance(value, datetime) else value, document_id.hex]
    return Page(items, cursors.dump_position(ended, query=query))


def _types(content_type: str | None) -> dict[str, str]:
    if content_type is None:
        return {}
    family, _, subtype = content_type.lower().partition("/")
    if subtype != "*":
        return {"content_type": content_type.lower()}
    return {"content_family": family.replace("_", r"\_") + "/%"}


def _position(sort: str, values: list[Any]) -> tuple[Any, UUID]:
    value, document_id = values
    if sort in {"created", "updated"}:
        value = datetime.fromisoformat(value)
    return value, UUID(document_id)
