"""Finds what a crash left between the registry and the server, on both sides, and mends it.

The server is read before the registry: a row is written before its database exists, so what has
no row by then is an orphan, not a tenant that is being made at this moment.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from app.core.db import platform_session
from app.domains.tenants import queries
from app.domains.tenants.models import TenantState
from app.domains.tenants.service import lifecycle
from app.tenancy.inspection import Inventory, take_inventory
from app.tenancy.locations import TenantLocation
from app.tenancy.manager import DEFAULT_SERVER, TenantDatabaseManager
from app.tenancy.names import tenant_id_of

logger = logging.getLogger(__name__)


class Fault(StrEnum):
    UNFINISHED = "unfinished"  # requested, creating or failed: provisioned again
    UNDELETED = "undeleted"  # deleting: dropped to the end
    NOT_SHUT_OUT = "open"  # suspended, and its role may log in: shut out
    ORPHAN = "orphan"  # on the server, in no ledger: dropped
    MISSING = "missing"  # in the ledger as active, not on the server: reported, never touched


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault; ``outcome`` says what was done, and is None in a dry run."""

    fault: Fault
    database: str
    tenant_id: UUID
    outcome: str | None = None


_FAULT_OF_STATE = {
    TenantState.REQUESTED: Fault.UNFINISHED,
    TenantState.CREATING: Fault.UNFINISHED,
    TenantState.FAILED: Fault.UNFINISHED,
    TenantState.DELETING: Fault.UNDELETED,
}


def find_faults(manager: TenantDatabaseManager) -> list[Finding]:
    inventory = take_inventory(manager.server)
    with platform_session() as session:
        ledger = {name: (TenantState(state), id_) for name, state, id_ in queries.ledger(session)}
    return sorted(_compare(inventory, ledger), key=lambda finding: finding.database)


def mend(manager: TenantDatabaseManager, finding: Finding) -> Finding:
    """The finding with its outcome. One that cannot be mended is told of, and stops no other."""
    try:
        outcome = _mend(manager, finding)
    except Exception as error:  # whatever it is, the others have their turn
        logger.exception("could not mend", extra={"database": finding.database})
        outcome = f"failed: {error}"
    return Finding(finding.fault, finding.database, finding.tenant_id, outcome)


def _compare(
    inventory: Inventory, ledger: dict[str, tuple[TenantState, UUID]]
) -> Iterator[Finding]:
    for name, (state, tenant_id) in ledger.items():
        if (fault := _FAULT_OF_STATE.get(state)) is not None:
            yield Finding(fault, name, tenant_id)
        elif state is TenantState.SUSPENDED and name in inventory.open_roles:
            yield Finding(Fault.NOT_SHUT_OUT, name, tenant_id)
        elif not {name} <= inventory.databases & inventory.roles:
            yield Finding(Fault.MISSING, name, tenant_id)
    for name in (inventory.databases | inventory.roles) - ledger.keys():
        yield Finding(Fault.ORPHAN, name, tenant_id_of(name))


def _mend(manager: TenantDatabaseManager, finding: Finding) -> str:
    match finding.fault:
        case Fault.UNFINISHED:
            lifecycle.provision(manager, tenant_id=finding.tenant_id)
            return "provisioned"
        case Fault.UNDELETED:
            lifecycle.delete(manager, tenant_id=finding.tenant_id)
            return "deleted"
        case Fault.NOT_SHUT_OUT:
            lifecycle.suspend(manager, tenant_id=finding.tenant_id)
            return "shut out"
        case Fault.ORPHAN:
            manager.drop_tenant_database(
                TenantLocation(
                    tenant_id=finding.tenant_id,
                    server=DEFAULT_SERVER,
                    database=finding.database,
                    sealed_credentials="",
                )
            )
            return "dropped"
        case Fault.MISSING:
            return "left alone: restore it from a backup, or delete the tenant"
