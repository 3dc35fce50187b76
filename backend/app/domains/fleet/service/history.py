"""What runs there were, and what became of each tenant in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from app.core.db import MainSession
from app.core.errors import NotFound
from app.domains.fleet import queries
from app.domains.fleet.models import MigrationResult, MigrationRun


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run with its counts by status, and its results where they were asked for."""

    id: UUID
    target: str
    status: str
    plan: dict[str, Any]
    started_at: datetime
    finished_at: datetime | None
    failure: str | None
    counts: dict[str, int]
    results: Sequence[MigrationResult]


def newest(session: MainSession, *, limit: int) -> list[RunRecord]:
    """The newest runs, without their results, newest first."""
    return [_record(session, run, []) for run in queries.newest_runs(session, limit=limit)]


def one(session: MainSession, run_id: UUID) -> RunRecord:
    """A run with what became of each tenant, in the order of the plan.

    Raises:
        NotFound: there is no such run.
    """
    run = queries.run(session, run_id)
    if run is None:
        raise NotFound("There is no such migration run.")
    return _record(session, run, queries.results(session, run_id))


def _record(
    session: MainSession, run: MigrationRun, results: Sequence[MigrationResult]
) -> RunRecord:
    return RunRecord(
        id=run.id,
        target=run.target,
        status=run.status,
        plan=run.plan,
        started_at=run.created_at,
        finished_at=run.finished_at,
        failure=run.failure,
        counts=queries.counts(session, run.id),
        results=results,
    )
