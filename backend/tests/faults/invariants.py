"""What has to hold whatever happened; each check tells what it finds."""

import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from app.core.events import Event
from app.domains.documents.service.reconciliation import find_faults
from app.domains.tenants.service.directory import TenantRegistry
from app.tenancy.manager import current_manager
from tests.faults.journal import HANGS_AFTER, Journal, Tenant
from tests.faults.stage import Stage

_TOLD: Final = 10
# Requests to the house itself, of which the feed tells nothing.
_NO_NEWS: Final = "file.process.v1"
_STUCK_SECONDS: Final = 20
_MORE_CONNECTIONS: Final = 20
_MORE_MEMORY: Final = 1.4


@dataclass(frozen=True)
class Condition:
    """How the product was before anything was broken."""

    connections: int
    memory: int


def missing_writes(stage: Stage, journal: Journal) -> list[str]:
    """Acknowledged writes of which nothing is found: no row, or no entry in the audit trail."""
    found: list[str] = []
    for tenant, made in journal.made.items():
        with stage.as_superuser(tenant.house.database) as connection:
            rows = connection.execute(
                "SELECT id::text FROM documents WHERE id = ANY (%s::uuid[])", (made,)
            )
            there = {row[0] for row in rows}
            entries = connection.execute(
                "SELECT type, target, details FROM audit_entries WHERE target = ANY (%s)", (made,)
            ).fetchall()
        found += [f"{tenant.house.slug}: document {each}" for each in made if each not in there]
        found += _missing_changes(tenant, journal, entries)
    return found


def _missing_changes(tenant: Tenant, journal: Journal, entries: list[Any]) -> list[str]:
    tags: set[tuple[str, str]] = set()
    names: set[tuple[str, str]] = set()
    binned: Counter[str] = Counter()
    for type_, target, details in entries:
        changes = details.get("changes", {})
        if "tags" in changes:
            former, new = (set(each or ()) for each in changes["tags"])
            tags |= {(target, f"tag {each}") for each in new - former}
            tags |= {(target, f"untag {each}") for each in former - new}
        if "name" in changes:
            names.add((target, changes["name"][1]))
        binned[target] += type_ == "document.deleted"
    slug = tenant.house.slug
    found = [f"{slug}: {each}" for each in journal.tagged.get(tenant, ()) if each not in tags]
    found += [f"{slug}: {each}" for each in journal.renamed.get(tenant, ()) if each not in names]
    told = Counter(journal.binned.get(tenant, ()))
    found += [f"{slug}: {each} deleted" for each in (told - binned).elements()]
    return found


def rows_without_event(stage: Stage) -> list[str]:
    """Documents, and entries of the audit trail, that no event of the outbox goes with."""
    public = {each.type: each.public_type() for each in _all_events() if each.public_version}
    found = []
    for tenant in stage.tenants:
        with stage.as_superuser(tenant.house.database) as connection:
            orphans = connection.execute(
                "SELECT id FROM documents AS d WHERE NOT EXISTS (SELECT FROM outbox"
                " WHERE subject = d.id::text AND type = 'document.uploaded.v1')"
            ).fetchall()
            audited = dict(
                connection.execute("SELECT type, count(*) FROM audit_entries GROUP BY 1")
            )
            told = dict(connection.execute("SELECT type, count(*) FROM outbox GROUP BY 1"))
        found += [f"{tenant.house.slug}: document {row[0]} without its event" for row in orphans]
        for type_, name in public.items():
            counts = (audited.get(type_, 0), told.get(name, 0))
            if counts[0] != counts[1]:
                found.append(
                    f"{tenant.house.slug}: {type_}: {counts[0]} entries, {counts[1]} events"
                )
    return found


def _all_events(of: type[Event] = Event) -> Iterable[type[Event]]:
    for each in of.__subclasses__():
        if hasattr(each, "type"):
            yield each
        yield from _all_events(each)


def waiting(stage: Stage) -> int:
    """Events that are not sent or have had no effect yet, and jobs that are not done."""
    left = 0
    for tenant in stage.tenants:
        with stage.as_superuser(tenant.house.database) as connection:
            left += _number(
                connection,
                "SELECT count(*) FROM outbox AS o WHERE sent_at IS NULL OR (type <> %s"
                " AND NOT EXISTS (SELECT FROM activities WHERE id = o.id))",
                _NO_NEWS,
            )
    with stage.as_superuser(stage.settings.installation_id) as connection:
        left += _number(connection, "SELECT count(*) FROM platform_outbox WHERE sent_at IS NULL")
        left += _number(
            connection, "SELECT count(*) FROM undelivered_events WHERE state = 'parked'"
        )
        left += _number(
            connection,
            "SELECT count(*) FROM jobs WHERE name = 'documents.process_file'"
            " AND state IN ('waiting', 'running')",
        )
    return left


def lost_and_doubled(stage: Stage) -> list[str]:
    """Events without their effect, with more than one, or with one that nobody told."""
    found = []
    with stage.as_superuser(stage.settings.installation_id) as connection:
        rows = connection.execute(
            "SELECT tenant_id, arguments ->> 'file_id', count(*), bool_and(state = 'done')"
            " FROM jobs WHERE name = 'documents.process_file' GROUP BY 1, 2"
        ).fetchall()
        dead = connection.execute("SELECT consumer, last_error FROM undelivered_events").fetchall()
        main = {row[0] for row in connection.execute("SELECT id FROM platform_outbox")}
    jobs: dict[Any, dict[str, tuple[int, bool]]] = defaultdict(dict)
    for tenant_id, file_id, count, done in rows:
        jobs[tenant_id][file_id] = (count, done)
    found += [f"put aside by {consumer}: {error}" for consumer, error in dead]
    for tenant in stage.tenants:
        slug = tenant.house.slug
        with stage.as_superuser(tenant.house.database) as connection:
            events = dict(connection.execute("SELECT id, (type, subject)::text FROM outbox"))
            files = connection.execute(
                "SELECT subject FROM outbox WHERE type = %s", (_NO_NEWS,)
            ).fetchall()
            told = {row[0] for row in connection.execute("SELECT id FROM activities")}
        expected = {key for key, what in events.items() if _NO_NEWS not in what}
        found += [f"{slug}: no effect of {events[key]}" for key in expected - told]
        found += [
            f"{slug}: effect of an event that nobody told: {key}" for key in told - expected - main
        ]
        for (file_id,) in files:
            count, done = jobs[tenant.house.id].get(file_id, (0, False))
            if count != 1 or not done:
                found.append(f"{slug}: file {file_id} has {count} jobs, done: {done}")
    return found


def stray_and_missing_objects(stage: Stage) -> list[str]:
    """The store against the rows. Nothing is old enough for the sweeper: each object has a row."""
    registry = TenantRegistry()
    return [
        f"{tenant.house.slug}: {finding.fault} {finding.key}"
        for tenant in stage.tenants
        for finding in find_faults(
            current_manager(),
            stage.app.extensions["storage"],
            registry.locate_tenant(tenant.house.id),
            apply=False,
        )
    ]


def condition(stage: Stage) -> Condition:
    with stage.as_superuser() as connection:
        connections = _number(
            connection,
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
            " AND pid <> pg_backend_pid()",
        )
    return Condition(connections, stage.programs.memory())


def stuck(stage: Stage) -> int:
    """Transactions that have been open for longer than any of the product's takes."""
    with stage.as_superuser() as connection:
        return _number(
            connection,
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
            f" AND xact_start < now() - interval '{_STUCK_SECONDS} seconds'",
        )


def grown(before: Condition, now: Condition) -> list[str]:
    found = []
    if now.connections > before.connections + _MORE_CONNECTIONS:
        found.append(f"{now.connections} connections, {before.connections} before")
    if now.memory > before.memory * _MORE_MEMORY:
        found.append(f"{now.memory >> 20} MiB, {before.memory >> 20} before")
    return found


def wrong_answers(stage: Stage, journal: Journal, *, unanswered: bool) -> list[str]:
    """``unanswered`` says that requests may break off: their server was killed."""
    found = journal.undocumented(stage.documented)
    found += journal.suspicious
    if not unanswered:
        found += [f"no answer: {each}" for each in journal.unanswered]
    if journal.slowest >= HANGS_AFTER:
        found.append(f"a request took {journal.slowest:.0f} s")
    return found


def drained(stage: Stage, *, seconds: float) -> float:
    """Waits until nothing waits any more; how long that took."""
    begun = time.monotonic()
    while left := waiting(stage):
        stage.programs.revive()
        took = time.monotonic() - begun
        assert took < seconds, f"{left} events and jobs wait after {took:.0f} s"
        time.sleep(0.2)
    return time.monotonic() - begun


def _number(connection: Any, statement: str, *values: object) -> int:
    row = connection.execute(statement, values or None).fetchone()
    return int(row[0])


def few(found: list[str]) -> str:
    """The first of many."""
    more = f"\nand {len(found) - _TOLD} more" if len(found) > _TOLD else ""
    return "\n".join(found[:_TOLD]) + more
