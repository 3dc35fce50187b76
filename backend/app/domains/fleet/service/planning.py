"""Which tenants a migration will touch, in which waves, with which SQL; from the ledger alone."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self
from uuid import UUID

from app.core.db import MainSession, platform_session
from app.domains.fleet.errors import BadOrder
from app.domains.fleet.service import waves
from app.domains.fleet.service.waves import Wave
from app.domains.tenants.service import ledger
from app.domains.tenants.service.ledger import FleetEntry
from app.tenancy.inspection import database_sizes
from app.tenancy.manager import TenantDatabaseManager
from app.tenancy.migrations import tree
from app.tenancy.migrations.rendering import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is asked for. Without ``downgrade_to``: the newest revision; without ids: everybody."""

    downgrade_to: str | None = None
    tenant_ids: tuple[UUID, ...] = ()
    waves: tuple[str, ...] = (waves.REST,)
    canaries: tuple[str, ...] = ()
    jobs: int = 4
    max_failures: int = 10

    @property
    def target(self) -> str:
        return self.downgrade_to or tree.current().head

    def dumps(self) -> dict[str, Any]:
        """For a row that keeps it until a worker carries it out."""
        return asdict(self) | {"tenant_ids": [str(each) for each in self.tenant_ids]}

    @classmethod
    def loads(cls, kept: Mapping[str, Any]) -> Self:
        lists = {name: tuple(kept[name]) for name in ("waves", "canaries")}
        ids = tuple(UUID(each) for each in kept["tenant_ids"])
        return cls(**{**kept, **lists, "tenant_ids": ids})


@dataclass(frozen=True, slots=True)
class Plan:
    """``at_target`` counts the tenants, among those asked for, that need nothing."""

    order: Order
    waves: Sequence[Wave] = field(default_factory=list)
    at_target: int = 0

    @property
    def entries(self) -> list[FleetEntry]:
        return [entry for wave in self.waves for entry in wave.entries]


def plan(manager: TenantDatabaseManager, order: Order) -> Plan:
    """Opens no tenant's database.

    Raises:
        BadOrder: the target is no revision, or an id is no tenant's with a database.
    """
    _require_target(order)
    chosen = list(order.tenant_ids) or None
    with platform_session() as session:
        entries = ledger.not_at(session, order.target, tenant_ids=chosen)
        everybody = sum(ledger.count_by_revision(session).values())
        if chosen is not None:
            everybody = _expect_all(ledger.with_database(session, tenant_ids=chosen), chosen)
    return _divide(manager, order, entries, everybody)


def plan_as_administrator(
    session: MainSession, manager: TenantDatabaseManager, order: Order
) -> Plan:
    """The same from what an administrator of the platform may see of the ledger.

    Raises:
        BadOrder: as `plan`.
    """
    _require_target(order)
    chosen = list(order.tenant_ids)
    fleet = ledger.seen_by_administrator(session)
    if chosen:
        fleet = [entry for entry in fleet if entry.tenant_id in chosen]
        _expect_all(fleet, chosen)
    behind = [entry for entry in fleet if entry.revision != order.target]
    return _divide(manager, order, behind, len(fleet))


def _require_target(order: Order) -> None:
    if not tree.current().knows(order.target):
        raise BadOrder(f"There is no revision {order.target!r} in the tenants' migrations.")


def _divide(
    manager: TenantDatabaseManager, order: Order, entries: Sequence[FleetEntry], everybody: int
) -> Plan:
    entries = [entry for entry in entries if _is_on_the_way(entry.revision, order)]
    if not entries:
        return Plan(order, at_target=everybody)
    by_size = waves.needs_sizes(order.waves, order.canaries)
    sizes = database_sizes(manager.server) if by_size else {}
    divided = waves.divide(entries, order.waves, canaries=order.canaries, sizes=sizes)
    return Plan(order, divided, everybody - len(entries))


def _expect_all(found: Sequence[FleetEntry], chosen: Sequence[UUID]) -> int:
    missing = set(chosen) - {entry.tenant_id for entry in found}
    if missing:
        named = ", ".join(sorted(map(str, missing)))
        raise BadOrder(f"No tenant with a database has the id {named}.")
    return len(found)


def _is_on_the_way(revision: str | None, order: Order) -> bool:
    """A revision that this code does not know is not left out: its tenant fails, and says why."""
    known = tree.current()
    if revision is not None and not known.knows(revision):
        return True
    downwards = known.place(revision) > known.place(order.target)
    return downwards == (order.downgrade_to is not None)


def render(manager: TenantDatabaseManager, planned: Plan) -> Mapping[str, Sequence[str]]:
    """The SQL for each revision that a planned tenant is at, with a line for what is Python."""
    order = planned.order
    recipe = Recipe(
        tree.current(),
        manager.installation,
        order.target,
        downwards=order.downgrade_to is not None,
    )
    sources = {entry.revision for entry in planned.entries}
    return {
        source or "": [text for step in recipe.steps_from(source) for text in step.as_text()]
        for source in sorted(sources, key=lambda each: each or "")
        if source is None or recipe.tree.knows(source)
    }
