"""What runs there were, and what became of each tenant in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from app.core.db import MainSession
from app.core.pages import Cursors, Page, page_of
from app.domains.fleet import queries
from app.domains.fleet.errors import RunNotFound
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
        RunNotFound: there is no such run.
    """
    run = queries.run(session, run_id)
    if run is None:
        raise RunNotFound("There is no such migration run.")
    return _record(session, run, queries.results(session, run_id))


def page(
    session: MainSession, *, status: str | None, cursors: Cursors, cursor: str | None, limit: int
) -> Page[RunRecord]:
    after = None if cursor is None else cursors.load(cursor)
    runs = queries.newest_runs(session, limit=limit + 1, after=after, status=status)
    records = [_record(session, run, []) for run in runs]
    return page_of(records, limit=limit, cursors=cursors, id_of=lambda each: each.id)


def summary(session: MainSession, run_id: UUID) -> RunRecord:
    """A run without its results.

    Raises:
        RunNotFound: there is no such run.
    """
    run = queries.run(session, run_id)
    if run is None:
        raise RunNotFound("There is no such migration run.")
    return _record(session, run, [])


def page_of_results(
    session: MainSession,
    *,
    run_id: UUID,
    status: str | None,
    cursors: Cursors,
    cursor: str | None,
    limit: int,
) -> Page[MigrationResult]:
    """What became of each tenant, in the order of the plan.

    Raises:
        RunNotFound: there is no such run.
    """
    summary(session, run_id)
    query = ["migration_results", run_id.hex, status]
    after = None
    if cursor is not None:
        wave, place = cursors.load_position(cursor, query=query)
        after = (int(str(wave)), int(str(place)))
    rows = queries.page_of_results(session, run_id, limit=limit + 1, after=after, status=status)
    items, more = rows[:limit], len(rows) > limit
    position = (items[-1].wave, items[-1].place) if more else ()
    return Page(items, cursors.dump_position(position, query=query) if more else None)


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
