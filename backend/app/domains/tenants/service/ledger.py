"""The ledger of tenants' databases, for work that goes through all of them."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import text

from app.core.db import MainSession
from app.domains.tenants import queries
from app.domains.tenants.models import SchemaRelease
from app.domains.tenants.queries import FleetEntry
from app.tenancy.locations import TenantLocation

# What these verbs hand out.
__all__ = [
    "FleetEntry",
    "announce",
    "count_by_revision",
    "not_at",
    "oldest_code_for",
    "seen_by_administrator",
    "with_database",
    "write_backup_times",
    "write_revisions",
    "write_tags",
]

# A narrow SECURITY DEFINER function: nobody else sees a row of it.
_LIST_FLEET = text("SELECT * FROM list_fleet()")
_WRITE_REVISIONS = text(
    """
    UPDATE tenant_databases d SET schema_revision = given.revision, updated_at = now()
    FROM unnest(CAST(:ids AS uuid[]), CAST(:revisions AS text[])) AS given (id, revision)
    WHERE d.tenant_id = given.id
    RETURNING d.tenant_id
    """
)

_ANNOUNCE = text(
    """
    INSERT INTO schema_releases AS known (revision, oldest_code)
    SELECT * FROM unnest(CAST(:revisions AS text[]), CAST(:codes AS text[]))
    ON CONFLICT (revision) DO UPDATE SET oldest_code = excluded.oldest_code
    WHERE known.oldest_code <> excluded.oldest_code
    """
)


def with_database(
    session: MainSession, *, tenant_ids: Sequence[UUID] | None = None
) -> Sequence[FleetEntry]:
    """Every tenant that has a whole database, or those of the ids that have.

    Suspended ones too, and deleted ones in their period of grace: both come back.
    """
    return queries.with_database(session, tenant_ids=tenant_ids)


def seen_by_administrator(session: MainSession) -> Sequence[FleetEntry]:
    """The same without logins, for the session of an administrator of the platform."""
    return [
        FleetEntry(
            tenant_id=id_,
            slug=slug,
            state=state,
            location=TenantLocation(
                tenant_id=id_, server=server, database=name, sealed_credentials=""
            ),
            revision=revision,
            tags=tuple(tags),
        )
        for id_, slug, state, server, name, revision, tags in session.execute(_LIST_FLEET)
    ]


def not_at(
    session: MainSession, revision: str | None, *, tenant_ids: Sequence[UUID] | None = None
) -> Sequence[FleetEntry]:
    """Those `with_database` whose schema is at another revision."""
    return queries.with_database(session, tenant_ids=tenant_ids, besides=(revision,))


def count_by_revision(session: MainSession) -> Mapping[str | None, int]:
    """How many tenants `with_database` are at each revision."""
    return queries.count_by_revision(session)


def write_revisions(session: MainSession, revisions: Mapping[UUID, str | None]) -> set[UUID]:
    """Writes where each tenant's schema is; returns those that have a ledger row, still."""
    rows = session.execute(
        _WRITE_REVISIONS, {"ids": list(revisions), "revisions": list(revisions.values())}
    )
    return set(rows.scalars())


def write_tags(session: MainSession, *, tenant_id: UUID, tags: Iterable[str]) -> None:
    row = queries.database(session, tenant_id)
    if row is not None:
        row.tags = sorted(set(tags))


def write_backup_times(
    session: MainSession,
    tenant_id: UUID,
    *,
    backed_up_at: datetime | None = None,
    proven_at: datetime | None = None,
) -> None:
    """When the tenant's newest backup was begun, or one of its backups last proven."""
    tenant = queries.tenant_for_change(session, tenant_id)
    if tenant is not None:
        tenant.last_backup_at = backed_up_at or tenant.last_backup_at
        tenant.last_proven_at = proven_at or tenant.last_proven_at


def announce(session: MainSession, oldest_code: Mapping[str, str]) -> None:
    """Lets code that does not know a revision serve it, where it knows the oldest code for it."""
    session.execute(
        _ANNOUNCE, {"revisions": list(oldest_code), "codes": list(oldest_code.values())}
    )


def oldest_code_for(session: MainSession, revision: str) -> str | None:
    """The head that code must know to serve the revision; None where nobody announced it."""
    release = session.get(SchemaRelease, revision)
    return None if release is None else release.oldest_code
