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
from app.domains.tenants.queries import LedgerEntry
from app.domains.tenants.service import deletion, kept, pool
from app.integrations.storage import Storage
from app.tenancy.inspection import Inventory, take_inventory
from app.tenancy.locations import TenantLocation
from app.tenancy.manager import DEFAULT_SERVER, TenantDatabaseManager
from app.tenancy.names import tenant_id_of

logger = logging.getLogger(__name__)


class Fault(StrEnum):
    UNFINISHED = "unfinished"  # requested, creating or failed: provisioned again
    UNPURGED = "unpurged"  # purging, or deleted and its grace is over: purged to the end
    NOT_SHUT_OUT = "open"  # suspended or deleted, and its role may log in: shut out
    NOT_LET_IN = "shut"  # active, and its role may not log in, or not write: let in
    WRITABLE = "writable"  # read-only, and its role may write: the right is taken away
    ORPHAN = "orphan"  # on the server, in no ledger: dropped
    SPARE = "spare"  # of the pool, half made or in no ledger: dropped
    MISSING = "missing"  # in the ledger as active, not on the server: reported, never touched


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault; ``outcome`` says what was done, and is None in a dry run."""

    fault: Fault
    database: str
    tenant_id: UUID
    outcome: str | None = None


_MENDED = {
    Fault.UNFINISHED: "provisioned",
    Fault.UNPURGED: "purged",
    Fault.NOT_SHUT_OUT: "shut out",
    Fault.NOT_LET_IN: "let in",
    Fault.WRITABLE: "made read-only",
}


def find_faults(manager: TenantDatabaseManager) -> list[Finding]:
    inventory = take_inventory(manager.server)
    with platform_session() as session:
        ledger = {entry.database: entry for entry in queries.ledger(session)}
        spares = pool.stray(session, inventory)
        beside = kept.known_names(session)
    found = [
        *_compare(inventory, ledger, beside),
        *(Finding(Fault.SPARE, manager.installation.spare(each), each) for each in spares),
    ]
    return sorted(found, key=lambda finding: finding.database)


def mend(manager: TenantDatabaseManager, storage: Storage, finding: Finding) -> Finding:
    """The finding with its outcome. One that cannot be mended is told of, and stops no other."""
    try:
        outcome = _mend(manager, storage, finding)
    except Exception as error:  # whatever it is, the others have their turn
        logger.exception("could not mend", extra={"database": finding.database})
        outcome = f"failed: {error}"
    return Finding(finding.fault, finding.database, finding.tenant_id, outcome)


def _compare(
    inventory: Inventory, ledger: dict[str, LedgerEntry], beside: set[str]
) -> Iterator[Finding]:
    for name, entry in ledger.items():
        if (fault := _fault(inventory, entry)) is not None:
            yield Finding(fault, name, entry.tenant_id)
    for name in inventory.open_roles & beside:
        yield Finding(Fault.NOT_SHUT_OUT, name, tenant_id_of(name))
    for name in (inventory.databases | inventory.roles) - ledger.keys() - beside:
        yield Finding(Fault.ORPHAN, name, tenant_id_of(name))


def _fault(inventory: Inventory, entry: LedgerEntry) -> Fault | None:
    is_there = {entry.database} <= inventory.databases & inventory.roles
    is_open = entry.database in inventory.open_roles
    may_write = entry.database in inventory.writers
    match entry.state:
        case TenantState.REQUESTED | TenantState.CREATING | TenantState.FAILED:
            return Fault.UNFINISHED
        case TenantState.PURGING | TenantState.DELETED if entry.overdue:
            return Fault.UNPURGED
        case TenantState.DELETED | TenantState.SUSPENDED if is_open:
            return Fault.NOT_SHUT_OUT
        case TenantState.ACTIVE | TenantState.SUSPENDED if not is_there:
            return Fault.MISSING
        case TenantState.ACTIVE:
            return _fault_of_door(entry, is_open=is_open, may_write=may_write)
    return None


def _fault_of_door(entry: LedgerEntry, *, is_open: bool, may_write: bool) -> Fault | None:
    if entry.read_only and may_write:
        return Fault.WRITABLE
    return None if is_open and (entry.read_only or may_write) else Fault.NOT_LET_IN


def _mend(manager: TenantDatabaseManager, storage: Storage, finding: Finding) -> str:
    match finding.fault:
        case Fault.MISSING:
            return "left alone: restore it from a backup, or delete the tenant"
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
        case Fault.SPARE:
            return pool.drop_stray(manager, finding.tenant_id)
        case fault:
            deletion.finish(manager, storage, tenant_id=finding.tenant_id)
            return _MENDED[fault]
