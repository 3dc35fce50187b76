"""Carries a plan out: wave after wave, several tenants at a time, each step of it on record.

The version row in a tenant's database is the truth. The ledger follows it right after, so that a
process that dies at any moment leaves nothing that the next run cannot see.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from uuid import UUID

from sqlalchemy import update

from app.core import clock, events
from app.core.db import MainSession, platform_session
from app.domains.fleet import queries
from app.domains.fleet.errors import BadOrder, NothingToResume, RunInProgress
from app.domains.fleet.events import FleetMigrationEnded
from app.domains.fleet.models import MigrationResult, MigrationRun, ResultStatus, RunStatus
from app.domains.fleet.service import planning, waves
from app.domains.fleet.service.parallel import in_batches
from app.domains.fleet.service.planning import Order, Plan
from app.domains.fleet.service.reach import Reach, announce
from app.domains.tenants.service import ledger
from app.domains.tenants.service.ledger import FleetEntry
from app.tenancy.manager import TenantDatabaseManager
from app.tenancy.migrations import applying, tree
from app.tenancy.migrations.applying import MigrationFailed
from app.tenancy.migrations.rendering import Recipe
from app.tenancy.server import AlreadyClaimed
from app.tenancy.templates import TemplateBroken

_LATECOMERS = "latecomers"
_GRACE_MS = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one tenant; ``error`` is None where it is at the target now."""

    entry: FleetEntry
    source: str | None
    target: str | None
    attempts: int
    seconds: float
    error: str | None = None
    status: ResultStatus = ResultStatus.SUCCEEDED


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is: one tenant more."""

    wave: str
    done: int
    total: int
    outcome: Outcome


Tell = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Ended:
    """A run's end; no id where there was nothing to do, and so no run."""

    run_id: UUID | None
    status: RunStatus
    counts: dict[str, int]
    at_target: int


def start(manager: TenantDatabaseManager, order: Order, *, tell: Tell) -> Ended:
    """Migrates the fleet; with nothing to do it opens no tenant's database and records nothing.

    The template of the newest revision comes first, so that who is born meanwhile is at it.

    Raises:
        RunInProgress: another process migrates the fleet.
        BadOrder: the order cannot be planned.
        MigrationFailed, TemplateBroken: the migrations fail on an empty database already.
    """
    with claimed(manager):
        planned = planning.plan(manager, order)
        if order.downgrade_to is None:
            announce()
        reach = Reach.prepared(manager, downgrade=order.downgrade_to is not None)
        if not planned.waves:
            return Ended(None, RunStatus.SUCCEEDED, {}, planned.at_target)
        with platform_session() as session:
            run = MigrationRun(target=order.target, plan={})
            session.add(run)
            session.flush()  # the results refer to it
            record(session, run, planned)
            run_id = run.id
        return _carry_out(manager, run_id, reach, tell, at_target=planned.at_target)


def resume(manager: TenantDatabaseManager, *, tell: Tell) -> Ended:
    """Goes on with the newest run where it ended, failed tenants included.

    Raises:
        RunInProgress: another process migrates the fleet.
        NothingToResume: the newest run was a success, or there is none.
    """
    with claimed(manager):
        with platform_session() as session:
            run = queries.unfinished_run(session)
            if run is None:
                raise NothingToResume("The newest run left nothing to do.")
            if not tree.current().knows(run.target):
                raise NothingToResume(f"This code has no revision {run.target}.")
            queries.forgive_failures(session, run.id)
            run.status, run.finished_at, run.failure = RunStatus.RUNNING, None, None
            run_id = run.id
        reach = Reach.prepared(manager, downgrade=run.plan["downgrade"])
        return _carry_out(manager, run_id, reach, tell, at_target=0)


@contextmanager
def claimed(manager: TenantDatabaseManager) -> Iterator[None]:
    """One run at a time; whoever holds the claim knows that a run still marked as running died."""
    try:
        with manager.server.claimed(manager.installation.id, "fleet", grace_ms=_GRACE_MS):
            with platform_session() as session:
                for run in queries.running_runs(session):
                    run.status = RunStatus.INTERRUPTED
            yield
    except AlreadyClaimed as error:
        raise RunInProgress("Another process is migrating the fleet; wait for its end.") from error


def carry_on(manager: TenantDatabaseManager, run_id: UUID, *, seconds: float) -> bool:
    """One leg of a run that was requested; False where there is more to do after the seconds.

    Planned at its first. A process that dies leaves a run whose next leg begins where it was.

    Raises:
        RunInProgress: another process migrates the fleet.
    """
    with claimed(manager):
        with platform_session() as session:
            run = queries.run(session, run_id)
            if run is None or run.status not in {RunStatus.REQUESTED, RunStatus.INTERRUPTED}:
                return True
            if run.status == RunStatus.REQUESTED:
                queries.forgive_failures(session, run_id)
            run.status, run.finished_at, run.failure = RunStatus.RUNNING, None, None
            order = run.plan.get("order")
        try:
            announce()
            reach = Reach.prepared(manager, downgrade=False)
            if order is not None:
                planned = planning.plan(manager, Order.loads(order))
                with platform_session() as session:
                    record(session, session.get_one(MigrationRun, run_id), planned)
        except (BadOrder, MigrationFailed, TemplateBroken) as error:
            _finish(run_id, RunStatus.FAILED, str(error))
            return True
        until = time.monotonic() + seconds
        ended = _carry_out(manager, run_id, reach, lambda _: None, at_target=0, until=until)
        return ended.status is not RunStatus.RUNNING


def record(session: MainSession, run: MigrationRun, planned: Plan) -> None:
    """What the run is going to do, and every tenant's part in it."""
    order = planned.order
    run.plan = {
        "waves": [wave.name for wave in planned.waves],
        "everybody": not order.tenant_ids,
        "downgrade": order.downgrade_to is not None,
        "jobs": order.jobs,
        "max_failures": order.max_failures,
    }
    for number, wave in enumerate(planned.waves):
        _add_results(session, run.id, number, wave.entries)


def _add_results(
    session: MainSession, run_id: UUID, wave: int, entries: Sequence[FleetEntry]
) -> None:
    session.add_all(
        MigrationResult(
            run_id=run_id, tenant_id=each.tenant_id, wave=wave, place=place, source=each.revision
        )
        for place, each in enumerate(entries)
    )


def _carry_out(
    manager: TenantDatabaseManager,
    run_id: UUID,
    reach: Reach,
    tell: Tell,
    *,
    at_target: int,
    until: float = math.inf,
) -> Ended:
    try:
        status = _Voyage(manager, run_id, reach, tell, until).sail()
    except BaseException as error:
        with suppress(Exception):  # what went wrong first is what matters
            _finish(run_id, RunStatus.INTERRUPTED, type(error).__name__)
        raise
    counts = {} if status is RunStatus.RUNNING else _finish(run_id, status)
    return Ended(run_id, status, counts, at_target)


def _finish(run_id: UUID, status: RunStatus, failure: str | None = None) -> dict[str, int]:
    with platform_session() as session:
        run = queries.run(session, run_id)
        counts = queries.counts(session, run_id)
        if run is not None:
            run.status, run.failure, run.finished_at = status, failure, clock.now()
            ended = FleetMigrationEnded(run_id=run_id, revision=run.target, status=status, **counts)
            events.record(session, ended)
        return counts


class _Voyage:
    """One go at a run, from its record; it begins with no tenant after the time ``until``."""

    def __init__(
        self,
        manager: TenantDatabaseManager,
        run_id: UUID,
        reach: Reach,
        tell: Tell,
        until: float,
    ) -> None:
        self._manager = manager
        self._run_id = run_id
        self._reach = reach
        self._tell = tell
        self._until = until
        with platform_session() as session:
            run = queries.run(session, run_id)
            if run is None:
                raise LookupError("there is no such run")
            self._plan = run.plan
            counts = queries.counts(session, run_id)
        self._recipe = Recipe(
            tree.current(),
            manager.installation,
            run.target,
            downwards=bool(run.plan["downgrade"]),
        )
        self._total = counts[ResultStatus.PENDING]
        self._done = 0
        self._failures = counts[ResultStatus.FAILED]
        # They say nothing of the migration, so they are not counted among its failures.
        self._unreached = counts[ResultStatus.UNREACHED]
        self._counting = threading.Lock()

    def sail(self) -> RunStatus:
        for number, name in enumerate(self._plan["waves"]):
            before = self._failures + self._unreached
            self._wave(number, name)
            worse = self._failures + self._unreached > before
            if self._spent or (name == waves.CANARY and worse):
                return RunStatus.STOPPED
            if self._late:
                return RunStatus.RUNNING
        while self._plan["everybody"] and self._add_latecomers():
            self._wave(len(self._plan["waves"]), _LATECOMERS)
            if self._spent:
                return RunStatus.STOPPED
            if self._late:
                return RunStatus.RUNNING
        well = not self._failures and not self._unreached
        return RunStatus.SUCCEEDED if well else RunStatus.FAILED

    @property
    def _spent(self) -> bool:
        return self._failures > int(self._plan["max_failures"])

    @property
    def _late(self) -> bool:
        return time.monotonic() > self._until

    def _wave(self, number: int, name: str) -> None:
        with platform_session() as session:
            left = queries.tenants_left(session, self._run_id, wave=number)
            found = ledger.with_database(session, tenant_ids=left)
            entries = {entry.tenant_id: entry for entry in found}
            for tenant_id in left:
                if tenant_id not in entries:
                    self._mark_gone(session, tenant_id)
        batches = in_batches(
            self._migrate,
            [entries[tenant_id] for tenant_id in left if tenant_id in entries],
            jobs=int(self._plan["jobs"]),
            go_on=lambda: not self._spent and not self._late,
        )
        for outcomes in batches:
            self._write(outcomes)
            for outcome in outcomes:
                self._done += 1
                self._tell(Progress(wave=name, done=self._done, total=self._total, outcome=outcome))

    def _add_latecomers(self) -> bool:
        """Tenants that older code made meanwhile, at its own revision."""
        with platform_session() as session:
            known = {row.tenant_id for row in queries.results(session, self._run_id)}
            behind = ledger.not_at(session, self._recipe.target)
            entries = [
                entry
                for entry in behind
                if entry.tenant_id not in known and not self._plan["downgrade"]
            ]
            _add_results(session, self._run_id, len(self._plan["waves"]), entries)
        self._total += len(entries)
        return bool(entries)

    def _migrate(self, entry: FleetEntry) -> Outcome:
        """Runs in a thread of its own; touches the tenant's database and nothing else."""
        start = time.monotonic()
        if self._reach.is_away(entry.location.server):
            return self._left(entry, 0, start)
        try:
            passage = applying.migrate(
                self._manager.server_of(entry.location),
                entry.location.database,
                self._recipe,
                self._manager.patience,
            )
        except MigrationFailed as error:
            if self._reach.explains(error, entry.location.server):
                return self._left(entry, error.attempts, start)
            with self._counting:
                self._failures += 1
            return Outcome(
                entry=entry,
                source=entry.revision,
                target=self._where_it_is(entry),
                attempts=error.attempts,
                seconds=time.monotonic() - start,
                error=str(error),
                status=ResultStatus.FAILED,
            )
        return Outcome(entry=entry, **asdict(passage), seconds=time.monotonic() - start)

    def _left(self, entry: FleetEntry, attempts: int, start: float) -> Outcome:
        with self._counting:
            self._unreached += 1
        return Outcome(
            entry=entry,
            source=entry.revision,
            target=entry.revision,
            attempts=attempts,
            seconds=time.monotonic() - start,
            error=f"the server {entry.location.server} is away",
            status=ResultStatus.UNREACHED,
        )

    def _where_it_is(self, entry: FleetEntry) -> str | None:
        """A failed tenant may have passed some revisions; unreachable, it is where it was."""
        with (
            suppress(Exception),
            self._manager.server_of(entry.location).connect_as_owner(
                entry.location.database
            ) as connection,
        ):
            return applying.read_version(connection)
        return entry.revision

    def _write(self, outcomes: Sequence[Outcome]) -> None:
        """Ledger and record of several tenants in one transaction: its commit costs most of it."""
        revisions = {each.entry.tenant_id: each.target for each in outcomes}
        with platform_session() as session:
            there = ledger.write_revisions(session, revisions)
            rows = [self._row(each, is_there=each.entry.tenant_id in there) for each in outcomes]
            if rows:
                session.execute(update(MigrationResult), rows)

    def _row(self, outcome: Outcome, *, is_there: bool) -> dict[str, object]:
        return {
            "run_id": self._run_id,
            "tenant_id": outcome.entry.tenant_id,
            "status": outcome.status if is_there else ResultStatus.GONE,
            "source": outcome.source,
            "target": outcome.target,
            "attempts": outcome.attempts,
            "seconds": outcome.seconds,
            "error": outcome.error,
        }

    def _mark_gone(self, session: MainSession, tenant_id: UUID) -> None:
        row = queries.result(session, run_id=self._run_id, tenant_id=tenant_id)
        if row is not None:
            row.status = ResultStatus.GONE
