"""The ledger of tenants' databases, for work that goes through all of them."""

from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from app.core.db import MainSession
from app.domains.tenants import queries
from app.domains.tenants.models import SchemaRelease
from app.domains.tenants.queries import LedgerEntry

# What these verbs hand out.
__all__ = [
    "LedgerEntry",
    "announce",
    "count_by_revision",
    "not_at",
    "oldest_code_for",
    "with_database",
    "write_revision",
    "write_tags",
]


def with_database(
    session: MainSession, *, tenant_ids: Sequence[UUID] | None = None
) -> Sequence[LedgerEntry]:
    """Every tenant that has a whole database, suspended ones too, or those of the ids that have."""
    return queries.with_database(session, tenant_ids=tenant_ids)


def not_at(
    session: MainSession, revision: str | None, *, tenant_ids: Sequence[UUID] | None = None
) -> Sequence[LedgerEntry]:
    """Those `with_database` whose schema is at another revision."""
    return queries.with_database(session, tenant_ids=tenant_ids, besides=(revision,))


def count_by_revision(session: MainSession) -> Mapping[str | None, int]:
    """How many tenants `with_database` are at each revision."""
    return queries.count_by_revision(session)


def write_revision(session: MainSession, *, tenant_id: UUID, revision: str | None) -> bool:
    """False where the tenant has no ledger row any more."""
    row = queries.database(session, tenant_id)
    if row is not None:
        row.schema_revision = revision
    return row is not None


def write_tags(session: MainSession, *, tenant_id: UUID, tags: Iterable[str]) -> None:
    row = queries.database(session, tenant_id)
    if row is not None:
        row.tags = sorted(set(tags))


def announce(session: MainSession, *, revision: str, oldest_code: str) -> None:
    """Lets code that does not know the revision serve it, where the revision allows."""
    session.merge(SchemaRelease(revision=revision, oldest_code=oldest_code))


def oldest_code_for(session: MainSession, revision: str) -> str | None:
    """The head that code must know to serve the revision; None where nobody announced it."""
    release = session.get(SchemaRelease, revision)
    return None if release is None else release.oldest_code
