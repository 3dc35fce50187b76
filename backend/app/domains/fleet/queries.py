"""Reads of runs and of what became of each tenant in them."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import func, select

from app.core.db import MainSession
from app.domains.fleet.models import MigrationResult, MigrationRun, ResultStatus, RunStatus


def newest_runs(session: MainSession, *, limit: int) -> Sequence[MigrationRun]:
    statement = select(MigrationRun).order_by(MigrationRun.id.desc()).limit(limit)
    return session.scalars(statement).all()


def run(session: MainSession, run_id: UUID) -> MigrationRun | None:
    return session.get(MigrationRun, run_id)


def unfinished_run(session: MainSession) -> MigrationRun | None:
    """The newest run, if tenants are left in it."""
    newest = session.scalar(select(MigrationRun).order_by(MigrationRun.id.desc()).limit(1))
    done = newest is None or newest.status == RunStatus.SUCCEEDED
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


def tenants_left(session: MainSession, run_id: UUID, *, wave: int) -> Sequence[UUID]:
    """The tenants of a wave that have not been migrated, in the order of the plan."""
    statement = (
        select(MigrationResult.tenant_id)
        .where(
            MigrationResult.run_id == run_id,
            MigrationResult.wave == wave,
            MigrationResult.status.in_((ResultStatus.PENDING, ResultStatus.FAILED)),
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
