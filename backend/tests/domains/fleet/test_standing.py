"""The fleet in sums, as Prometheus is told; the application's role sees no row behind them."""

from uuid import uuid4

from flask import Flask
from sqlalchemy import delete, func, select

from app.core import clock, ids
from app.core.db import main_session, platform_session
from app.core.readings import FleetFigures
from app.domains.backups.models import Backup, BackupState
from app.domains.fleet.models import MigrationResult, MigrationRun, ResultStatus, RunStatus
from app.domains.fleet.service import standing
from app.domains.tenants.models import Tenant
from app.domains.tenants.service import lifecycle
from app.tenancy import migrations
from app.tenancy.manager import current_manager
from tests.cast import new_house, new_person


def figures(*, backup_seconds: float | None = None) -> FleetFigures:
    with main_session() as session:
        return standing.figures(session, backup_seconds=backup_seconds)


def test_tenants_by_state_and_revision(context: Flask) -> None:
    before = figures()
    house = new_house("acme", new_person(context, "Alice"))
    after = figures()
    assert after.tenants["active"] == before.tenants["active"] + 1
    assert after.schemas[migrations.head()] == before.schemas[migrations.head()] + 1
    lifecycle.suspend(current_manager(), tenant_id=house.id)
    suspended = figures()
    assert suspended.tenants["suspended"] == before.tenants["suspended"] + 1
    assert suspended.tenants["active"] == before.tenants["active"]
    with main_session() as session:
        assert session.scalar(select(func.count()).select_from(Tenant)) == 0, "sums alone"


def test_backups_that_fail_and_are_overdue(context: Flask) -> None:
    new_house("acme", new_person(context, "Alice"))
    before = figures()
    with platform_session() as session:
        session.add(
            Backup(
                tenant_id=uuid4(),
                origin="scheduled",
                state=BackupState.FAILED,
                finished_at=clock.now(),
            )
        )
    assert figures().backups_failed == before.backups_failed + 1
    assert before.backup_overdue_seconds == 0, "none are taken"
    assert figures(backup_seconds=0).backup_overdue_seconds > 0
    assert figures(backup_seconds=1e9).backup_overdue_seconds == 0


def test_the_newest_migration(context: Flask) -> None:
    run_id = ids.new_id()
    with platform_session() as session:
        session.add(
            MigrationRun(
                id=run_id, target=migrations.head(), status=RunStatus.FAILED, plan={"waves": []}
            )
        )
        session.flush()
        session.add_all(
            MigrationResult(run_id=run_id, tenant_id=uuid4(), wave=0, place=place, status=status)
            for place, status in enumerate([ResultStatus.FAILED, *2 * [ResultStatus.SUCCEEDED]])
        )
    try:
        told = figures().migrated
        assert (told["failed"], told["succeeded"], told["pending"]) == (1, 2, 0)
    finally:
        with platform_session() as session:
            session.execute(delete(MigrationRun).where(MigrationRun.id == run_id))
