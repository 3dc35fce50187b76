"""What a tenant may keep. Triggers keep the sums; here they are compared with the limits.

A change that needs room is flushed first, which makes its transaction hold the sums' row until it
ends; a second one waits for that, so that no two can take the same room.
"""

from dataclasses import dataclass

from app.domains.documents import queries
from app.domains.documents.errors import QuotaExceeded
from app.tenancy.sessions import TenantSession


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of tenants that have none of their own; None is no limit."""

    bytes: int | None
    documents: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """``stored_bytes`` counts shared content once, ``logical_bytes`` in each version that holds it.

    ``documents`` are all, with those in the trash. What is being uploaded counts.
    """

    stored_bytes: int
    logical_bytes: int
    documents: int
    trashed_documents: int
    versions: int
    max_bytes: int | None
    max_documents: int | None


def usage(session: TenantSession, *, limits: Limits) -> Usage:
    sums = queries.quota(session)
    versions, logical_bytes = queries.count_versions(session)
    return Usage(
        stored_bytes=sums.used_bytes,
        logical_bytes=logical_bytes,
        documents=sums.used_documents,
        trashed_documents=queries.count_trash(session),
        versions=versions,
        max_bytes=_first(sums.max_bytes, limits.bytes),
        max_documents=_first(sums.max_documents, limits.documents),
    )


def has_room(session: TenantSession, *, limits: Limits) -> bool:
    """Whether all that this transaction has taken so far is within the limits."""
    session.flush()  # what it takes is counted in the database
    sums = queries.quota(session)
    return _within(sums.used_bytes, _first(sums.max_bytes, limits.bytes)) and _within(
        sums.used_documents, _first(sums.max_documents, limits.documents)
    )


def require_room(session: TenantSession, *, limits: Limits) -> None:
    """Lets the transaction go on.

    Raises:
        QuotaExceeded: it has taken more than there is.
    """
    if not has_room(session, limits=limits):
        raise exceeded()


def exceeded() -> QuotaExceeded:
    return QuotaExceeded("There is no room for this; purge documents, or ask for a larger quota.")


def _first(own: int | None, general: int | None) -> int | None:
    return general if own is None else own


def _within(used: int, limit: int | None) -> bool:
    return limit is None or used <= limit
