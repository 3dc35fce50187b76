"""How the fleet stands, in sums."""

from sqlalchemy import text

from app.core.db import MainSession
from app.core.readings import FleetFigures
from app.domains.fleet.models import ResultStatus
from app.domains.tenants.service.directory import STATES
from app.tenancy import migrations

_FIGURES = text("SELECT figure, label, value FROM fleet_figures()")


def figures(session: MainSession, *, backup_seconds: float | None) -> FleetFigures:
    """``backup_seconds`` is how old a tenant's newest backup may become, where any are taken."""
    by_label: dict[str, dict[str, int]] = {
        "tenants": dict.fromkeys(STATES, 0),
        "schemas": {migrations.head(): 0},
        "migrated": dict.fromkeys(map(str, ResultStatus), 0),
    }
    sums: dict[str, float] = {}
    for figure, label, value in session.execute(_FIGURES):
        if label is None:
            sums[figure] = value
        else:
            by_label[figure][label] = int(value)
    overdue = 0.0 if backup_seconds is None else max(0.0, sums["backup_age"] - backup_seconds)
    return FleetFigures(
        **by_label,
        backup_overdue_seconds=overdue,
        backups_failed=int(sums["backups_failed"]),
        oldest_unsent_seconds=sums["unsent_age"],
    )
