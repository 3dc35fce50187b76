"""What parts of the product tell of themselves; `core.metrics` gives it to Prometheus."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolFigures:
    """The tenant plane's pool of this process; ``events`` only ever grow."""

    idle: int
    in_use: int
    waiting: int
    events: dict[str, int]


@dataclass(frozen=True, slots=True)
class JobFigures:
    """The table of jobs; the oldest due job's age is 0 where none is due.

    ``canaries`` says of each queue how long ago a job last came through; infinitely, if none did.
    """

    due: int
    failed: int
    oldest_due_seconds: float
    canaries: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class EventFigures:
    """Events of the main database, and of all handlers; ages are 0 where nothing has one."""

    unsent: int
    parked: int
    dead: int
    oldest_parked_seconds: float
    lag: int
    lag_age_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SsoFigures:
    """``identities`` by status, ``refreshes`` by outcome since the installation was made."""

    identities: Mapping[str, int]
    refreshes: Mapping[str, int]
    soonest_expiry_seconds: float


@dataclass(frozen=True, slots=True)
class AuditFigures:
    """Audit trails with entries that are not sealed yet, and how old the oldest of these are."""

    unsealed_trails: int
    oldest_unsealed_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetFigures:
    """Tenants by state, databases by their schema's revision, the newest migration by outcome.

    The backup that is overdue the longest, the backups that failed in a day, and the age of the
    main database's oldest event that waits for the relay.
    """

    tenants: Mapping[str, int]
    schemas: Mapping[str, int]
    migrated: Mapping[str, int]
    backup_overdue_seconds: float
    backups_failed: int
    oldest_unsent_seconds: float
