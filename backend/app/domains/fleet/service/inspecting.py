"""Compares what tenants' databases are with what the ledger and their template say they are."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

import psycopg

from app.core.db import platform_session
from app.domains.fleet.service.parallel import in_parallel
from app.domains.tenants.service import ledger
from app.domains.tenants.service.ledger import FleetEntry
from app.tenancy import templates
from app.tenancy.inspection.catalog import Catalog, read_catalog
from app.tenancy.inspection.drift import Difference, differences
from app.tenancy.manager import TenantDatabaseManager
from app.tenancy.migrations import applying, tree
from app.tenancy.server import ServerUnavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """One tenant of so many. ``revision`` is its database's own; ``error`` why it was not read."""

    entry: FleetEntry
    of: int
    revision: str | None = None
    differences: Sequence[Difference] = ()
    error: str | None = None

    @property
    def ledger_is_wrong(self) -> bool:
        return self.error is None and self.revision != self.entry.revision

    @property
    def is_well(self) -> bool:
        return self.error is None and not self.ledger_is_wrong and not self.differences


@dataclass(frozen=True, slots=True)
class _Finding:
    entry: FleetEntry
    revision: str | None
    catalog: Catalog | None
    error: str | None


def inspect(
    manager: TenantDatabaseManager,
    *,
    jobs: int,
    tenant_ids: Sequence[UUID] | None = None,
    sample: int | None = None,
    repair_ledger: bool = False,
) -> Iterator[Inspection]:
    """Each tenant against the catalog of its own revision, in the order they are done.

    ``sample`` takes that many tenants by chance. At most ``jobs`` tenants are connected to at a
    time, and one catalog is kept for each revision met.
    """
    with platform_session() as session:
        entries = list(ledger.with_database(session, tenant_ids=tenant_ids))
    if sample is not None and sample < len(entries):
        entries = random.sample(entries, sample)
    references = _References(manager)
    for finding in in_parallel(lambda entry: _look(manager, entry), entries, jobs=jobs):
        inspection = _judge(finding, references, len(entries))
        if repair_ledger and inspection.ledger_is_wrong:
            with platform_session() as session:
                ledger.write_revisions(session, {inspection.entry.tenant_id: inspection.revision})
        yield inspection


class _References:
    """What the catalog of a revision is, read from a database made for that and dropped again."""

    def __init__(self, manager: TenantDatabaseManager) -> None:
        self._manager = manager
        self._known: dict[str | None, Catalog] = {}

    def of(self, revision: str | None) -> Catalog:
        if revision not in self._known:
            server = self._manager.server
            with (
                templates.scratch(server, revision) as name,
                server.connect_as_owner(name) as connection,
            ):
                self._known[revision] = read_catalog(connection)
        return self._known[revision]


def _look(manager: TenantDatabaseManager, entry: FleetEntry) -> _Finding:
    """Runs in a thread of its own."""
    try:
        with manager.server_of(entry.location).connect_as_owner(
            entry.location.database
        ) as connection:
            revision = applying.read_version(connection)
            return _Finding(entry, revision, read_catalog(connection), None)
    except (ServerUnavailable, psycopg.Error, applying.WrongVersion) as error:
        return _Finding(entry, None, None, str(error).strip())


def _judge(finding: _Finding, references: _References, of: int) -> Inspection:
    if finding.catalog is None:
        return Inspection(entry=finding.entry, of=of, error=finding.error)
    if finding.revision is not None and not tree.current().knows(finding.revision):
        error = f"this code knows no schema revision {finding.revision!r}"
        return Inspection(entry=finding.entry, of=of, revision=finding.revision, error=error)
    found = differences(references.of(finding.revision), finding.catalog)
    return Inspection(entry=finding.entry, of=of, revision=finding.revision, differences=found)
