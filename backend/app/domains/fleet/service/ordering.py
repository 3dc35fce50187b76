"""Migrations that a platform administrator orders over HTTP, and a job carries out.

The order is a row, and the job is written with it: from their commit on it is carried out, in legs
that are shorter than a job may take, until the run has ended.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.exc import IntegrityError

from app.core import events
from app.core.db import MainSession, platform_session
from app.domains.fleet import queries
from app.domains.fleet.errors import NotResumable, RunInProgress, RunNotFound
from app.domains.fleet.events import FleetMigrationOrdered
from app.domains.fleet.models import MigrationRun, RunStatus
from app.domains.fleet.service import history, planning, running
from app.domains.fleet.service.history import RunRecord
from app.domains.fleet.service.planning import Order, Plan
from app.domains.jobs import service as jobs
from app.domains.tenants.service import ledger
from app.tenancy.manager import TenantDatabaseManager
from app.tenancy.migrations import tree

_SECONDS_PER_LEG = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetState:
    """``head`` is the newest revision of this code, ``supported`` those that it serves."""

    head: str
    supported: list[str]
    tenants: int
    behind: int
    revisions: Mapping[str, int]
    run: RunRecord | None


def state(session: MainSession) -> FleetState:
    """How many tenants are at which revision, and the run that is under way."""
    known = tree.current()
    counts = Counter(entry.revision or "" for entry in ledger.seen_by_administrator(session))
    active = queries.active_run(session)
    return FleetState(
        head=known.head,
        supported=sorted(known.supported),
        tenants=counts.total(),
        behind=counts.total() - counts[known.head],
        revisions=dict(sorted(counts.items())),
        run=None if active is None else history.summary(session, active.id),
    )


def plan(session: MainSession, manager: TenantDatabaseManager, order: Order) -> Plan:
    """Raises: BadOrder: the order cannot be planned."""
    return planning.plan_as_administrator(session, manager, order)


def order_run(session: MainSession, manager: TenantDatabaseManager, order: Order) -> RunRecord:
    """Has a job migrate the fleet as ordered.

    Raises:
        BadOrder: the order cannot be planned.
        RunInProgress: a run is under way, or waits for its job.
    """
    planning.plan_as_administrator(session, manager, order)
    _require_no_other(session)
    run = MigrationRun(
        target=order.target, status=RunStatus.REQUESTED, plan={"order": order.dumps()}
    )
    session.add(run)
    return _have_carried_out(session, run, resumed=False)


def order_resumption(session: MainSession, *, run_id: UUID) -> RunRecord:
    """Has a job go on with the newest run where it ended, failed tenants included.

    Raises:
        RunNotFound: there is no such run.
        NotResumable: it is not the newest, has left nothing to do, or is under way.
    """
    run = queries.run(session, run_id)
    if run is None:
        raise RunNotFound("There is no such migration run.")
    [newest] = queries.newest_runs(session, limit=1)
    if newest.id != run_id or run.status in {RunStatus.SUCCEEDED, RunStatus.RUNNING}:
        raise NotResumable(f"This run is {run.status}, or not the newest.")
    if not tree.current().knows(run.target):
        raise NotResumable(f"This code has no revision {run.target}.")
    run.status, run.finished_at, run.failure = RunStatus.REQUESTED, None, None
    return _have_carried_out(session, run, resumed=True)


def _require_no_other(session: MainSession) -> None:
    active = queries.active_run(session)
    if active is not None:
        raise RunInProgress(f"The run {active.id} is {active.status}; wait for its end.")


def _have_carried_out(session: MainSession, run: MigrationRun, *, resumed: bool) -> RunRecord:
    try:
        session.flush()  # what another has ordered at this moment is found here
    except IntegrityError as error:
        raise RunInProgress("Another migration was ordered at this moment.") from error
    ordered = FleetMigrationOrdered(run_id=run.id, revision=run.target, resumed=resumed)
    events.record(session, ordered)
    jobs.schedule(session, "fleet.migrate", run=str(run.id))
    return history.summary(session, run.id)


def carry_on(manager: TenantDatabaseManager, *, run_id: UUID) -> None:
    """One leg of the run, and the job for the next one where it has not ended.

    Raises:
        RunInProgress: another process migrates the fleet.
    """
    if not running.carry_on(manager, run_id, seconds=_SECONDS_PER_LEG):
        with platform_session() as session:
            jobs.schedule(session, "fleet.migrate", run=str(run_id))
