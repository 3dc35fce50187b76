"""What the domains tell Prometheus: each is asked when somebody reads, in its own transaction."""

from functools import partial

from flask import Flask

from app.core import db, metrics, readings, tallies
from app.domains.audit.service import backlog as audit_backlog
from app.domains.fleet.service import standing
from app.domains.jobs.service import records
from app.domains.outbox.service import letters
from app.domains.sso.service import upkeep as sso_upkeep
from app.domains.webhooks.service import sending
from app.settings import Settings
from app.tenancy.manager import TenantDatabaseManager


def publish(app: Flask, settings: Settings, manager: TenantDatabaseManager) -> None:
    metrics.init_app(
        app,
        settings,
        pool=manager.pool.figures,
        jobs=_jobs,
        events=_events,
        sso=_sso,
        audit=_audit,
        webhooks=_webhooks,
        fleet=partial(_fleet, settings),
    )


def _jobs() -> readings.JobFigures:
    with db.main_session() as session:
        return records.backlog(session)


def _events() -> readings.EventFigures:
    with db.main_session() as session:
        return letters.backlog(session)


def _sso() -> readings.SsoFigures:
    with db.main_session() as session:
        return sso_upkeep.figures(session)


def _audit() -> readings.AuditFigures:
    with db.main_session() as session:
        return audit_backlog.backlog(session)


def _webhooks() -> dict[str, int]:
    return {"delivered": 0} | tallies.current_tallies().read(sending.TALLY)


def _fleet(settings: Settings) -> readings.FleetFigures:
    every = settings.backup_every_hours
    with db.main_session() as session:
        return standing.figures(session, backup_seconds=None if every is None else every * 3600)
