"""What the fleet tells the platform's audit trail."""

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

from app.core.events import Event


@dataclass(frozen=True, kw_only=True)
class FleetMigrationEnded(Event):
    """One go at a run came to its end; the counts are of its tenants, by status."""

    type: ClassVar[str] = "fleet.migration_ended"
    target: ClassVar[str] = "run_id"

    run_id: UUID
    revision: str
    status: str
    succeeded: int
    failed: int
    unreached: int
    pending: int
    gone: int


@dataclass(frozen=True, kw_only=True)
class FleetMigrationOrdered(Event):
    """An administrator asked for a migration of the fleet, or for the rest of one."""

    type: ClassVar[str] = "fleet.migration_ordered"
    target: ClassVar[str] = "run_id"

    run_id: UUID
    revision: str
    resumed: bool
