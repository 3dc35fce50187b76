"""Reads of runs and of what became of each tenant in them."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import func, select, tuple_, update

from app.core.db import MainSession
from app.domains.fleet.models import MigrationResult, MigrationRun, ResultStatus, RunStatus


def newest_runs(
    session: MainSession, *, limit: int, after: UUID | None = None, status: str | None = None
) -> Sequence[MigrationRun]:
    """Newest first, at most ``limit``, after the id given."""
    statement = select(MigrationRun).order_by(MigrationRun.id.desc()).limit(limit)
    if after is not None:
        statement = statement.where(MigrationRun.id < after)
    if status is not None:
        statement = statement.where(MigrationRun.status == status)
    return session.scalars(statement).all()


def active_run(session: MainSession) -> MigrationRun | None:
    return session.scalar(select(MigrationRun).where(MigrationRun.active).limit(1))


def run(session: MainSession, run_id: UUID) -> MigrationRun | None:
    return session.get(MigrationRun, run_id)


def unfinished_run(session: MainSession) -> MigrationRun | None:
    """The newest run, if tenants are left in it."""
    newest = session.scalar(select(MigrationRun).order_by(MigrationRun.id.desc()).limit(1))
    done = newest is None or newest.status in {RunStatus.SUCCEEDED, RunStatus.REQUESTED}
    return None if done else newest


def running_runs(session: MainSession) -> Sequence[MigrationRun]:
    statement = select(MigrationRun).where(MigrationRun.status == RunStatus.RUNNING)
    return session.scalars(statement).all()


def results(session: MainSession, run_id: UUID) -> Sequence[MigrationResult]:
    statement = (
        select(MigrationResult)
        .where(MigrationResult.run_id == run_id)
        .order_by(MigrationResult.wave, MigrationResult.place)
    )
    return session.scalars(statement).all()


def page_of_results(
    session: MainSession,
    run_id: UUID,
    *,
    limit: int,
    after: tuple[int, int] | None,
    status: str | None,
) -> Sequence[MigrationResult]:
    """In the order of the plan, at most ``limit``, after the wave and place given."""
    position = tuple_(MigrationResult.wave, MigrationResult.place)
    statement = (
        select(MigrationResult)
        .where(MigrationResult.run_id == run_id)
        .order_by(MigrationResult.wave, MigrationResult.place)
        .limit(limit)
    )
    if after is not None:
        statement = statement.where(position > after)
    if status is not None:
        statement = statement.where(MigrationResult.status == status)
    return session.scalars(statement).all()


def forgive_failures(session: MainSession, run_id: UUID) -> None:
    """Those that failed, or were not reached, wait for another go."""
    left = (ResultStatus.FAILED, ResultStatus.UNREACHED)
    session.execute(
        update(MigrationResult)
        .where(MigrationResult.run_id == run_id, MigrationResult.status.in_(left))
        .values(status=ResultStatus.PENDING)
    )


def tenants_left(session: MainSession, run_id: UUID, *, wave: int) -> Sequence[UUID]:
    """The tenants of a wave that wait to be migrated, in the order of the plan."""
    statement = (
        select(MigrationResult.tenant_id)
        .where(
            MigrationResult.run_id == run_id,
            MigrationResult.wave == wave,
            MigrationResult.status == ResultStatus.PENDING,
        )
        .order_by(MigrationResult.place)
    )
    return session.scalars(statement).all()


def result(session: MainSession, *, run_id: UUID, tenant_id: UUID) -> MigrationResult | None:
    return session.get(MigrationResult, (run_id, tenant_id))


def counts(session: MainSession, run_id: UUID) -> dict[str, int]:
    """How many tenants of the run are in each status."""
    rows = session.execute(
        select(MigrationResult.status, func.count())
        .where(MigrationResult.run_id == run_id)
        .group_by(MigrationResult.status)
    )
    found = {status.value: 0 for status in ResultStatus}
    return found | {status: count for status, count in rows}  # noqa: C416  # rows are no pairs
