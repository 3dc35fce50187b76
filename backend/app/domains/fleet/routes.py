"""Migrations of the fleet over HTTP, for the platform's administrators."""

from typing import Any, Final
from uuid import UUID

from flask import Blueprint, Response

from app.core.db import MainSession
from app.core.http import endpoint
from app.core.pages import Page, current_cursors
from app.core.payloads import json_response
from app.domains.fleet import schemas
from app.domains.fleet.models import MigrationResult
from app.domains.fleet.service import history, ordering, planning, waves
from app.domains.fleet.service.history import RunRecord
from app.domains.fleet.service.ordering import FleetState
from app.domains.fleet.service.planning import Order
from app.settings import current_settings
from app.tenancy.manager import current_manager

blueprint: Final = Blueprint("fleet", __name__, url_prefix="/api/admin")
# Of a wave in a plan.
_SHOWN: Final = 20


@blueprint.get("/fleet")
@endpoint(allow="fleet:read", transaction="main", returns=schemas.Fleet, errors=(401, 403))
def get_fleet(session: MainSession) -> FleetState:
    """How many tenants are at which schema revision, and the migration that is under way."""
    return ordering.state(session)


@blueprint.get("/migrations")
@endpoint(
    allow="fleet:read",
    transaction="main",
    query=schemas.RunQuery,
    returns=schemas.RunPage,
    errors=(401, 403, 422),
)
def list_migrations(session: MainSession, query: dict[str, Any]) -> Page[RunRecord]:
    """The migrations of the fleet, newest first."""
    return history.page(session, cursors=current_cursors(), **query)


@blueprint.post("/migrations/plan")
@endpoint(
    allow="fleet:read",
    transaction="main",
    body=schemas.NewMigration,
    returns=schemas.MigrationPlan,
    errors=(401, 403, 422, 503),
)
def plan_migration(session: MainSession, body: dict[str, Any]) -> dict[str, object]:
    """What a migration would do: which tenants, in which waves, by which SQL. Changes nothing."""
    manager = current_manager()
    planned = ordering.plan(session, manager, _order(body))
    return {
        "target": planned.order.target,
        "at_target": planned.at_target,
        "waves": [
            {
                "name": wave.name,
                "tenants": len(wave.entries),
                "first": [entry.tenant_id for entry in wave.entries[:_SHOWN]],
            }
            for wave in planned.waves
        ],
        "sql": planning.render(manager, planned),
    }


@blueprint.post("/migrations")
@endpoint(
    allow="fleet:migrate",
    transaction="main",
    body=schemas.NewMigration,
    returns=schemas.Run,
    status=202,
    errors=(401, 403, 409, 422, 503),
)
def start_migration(session: MainSession, body: dict[str, Any]) -> Response:
    """Have a job bring the tenants to the newest revision; how it goes is told at Location."""
    return _accepted(ordering.order_run(session, current_manager(), _order(body)))


@blueprint.get("/migrations/<uuid:run_id>")
@endpoint(allow="fleet:read", transaction="main", returns=schemas.Run, errors=(401, 403, 404))
def get_migration(session: MainSession, run_id: UUID) -> RunRecord:
    """One migration of the fleet."""
    return history.summary(session, run_id)


@blueprint.get("/migrations/<uuid:run_id>/results")
@endpoint(
    allow="fleet:read",
    transaction="main",
    query=schemas.ResultQuery,
    returns=schemas.ResultPage,
    errors=(401, 403, 404, 422),
)
def list_results(
    session: MainSession, run_id: UUID, query: dict[str, Any]
) -> Page[MigrationResult]:
    """What became of each tenant in a migration, in the order of its plan."""
    return history.page_of_results(session, run_id=run_id, cursors=current_cursors(), **query)


@blueprint.post("/migrations/<uuid:run_id>/resume")
@endpoint(
    allow="fleet:migrate",
    transaction="main",
    returns=schemas.Run,
    status=202,
    errors=(401, 403, 404, 409),
)
def resume_migration(session: MainSession, run_id: UUID) -> Response:
    """Have a job go on with the newest migration where it ended, failed tenants included."""
    return _accepted(ordering.order_resumption(session, run_id=run_id))


def _accepted(run: RunRecord) -> Response:
    answer = json_response(schemas.Run().dump(run), status=202)
    answer.headers["Location"] = f"{blueprint.url_prefix}/migrations/{run.id}"
    return answer


def _order(body: dict[str, Any]) -> Order:
    return Order(
        tenant_ids=tuple(body["tenant_ids"]),
        waves=tuple(waves.read_waves(body["waves"])),
        canaries=tuple(body["canaries"]),
        jobs=body["jobs"] or current_settings().fleet_jobs,
        max_failures=body["max_failures"],
    )
