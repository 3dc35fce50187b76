"""The store against the rows, in both directions, with one page of each in memory.

Both come in the order of their keys, so that one walk finds what only one of them has. What it
finds is looked at once more, for the two are not read in one moment.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from app.core.errors import NotFound
from app.domains.documents import queries
from app.domains.documents.models import FileState
from app.domains.documents.service import files
from app.integrations.storage import Storage
from app.tenancy.locations import TenantLocation
from app.tenancy.manager import TenantDatabaseManager

_PAGE: Final = 1000


class Fault(StrEnum):
    """MISSING: documents have lost their bytes. STRAY: bytes that no row knows."""

    MISSING = "missing"
    STRAY = "stray"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """``outcome`` is what was done about it; None where nothing was."""

    fault: Fault
    key: str
    outcome: str | None = None


def find_faults(
    manager: TenantDatabaseManager,
    storage: Storage,
    location: TenantLocation,
    *,
    apply: bool,
) -> Iterator[Finding]:
    """The faults of one tenant; with ``apply``, stray bytes are deleted as they are found.

    Missing bytes are left alone: a backup may have them.
    """
    rows = _rows(manager, location)
    row = next(rows, None)
    for key in storage.keys(f"tenants/{location.database}"):
        while row is not None and row < key:
            yield from _missing(manager, storage, location, row)
            row = next(rows, None)
        if row == key:
            row = next(rows, None)
        elif not _is_known(manager, location, key):
            yield _stray(storage, key, apply=apply)
    while row is not None:
        yield from _missing(manager, storage, location, row)
        row = next(rows, None)


def _rows(manager: TenantDatabaseManager, location: TenantLocation) -> Iterator[str]:
    after = ""
    while True:
        with manager.tenant_reads(location) as session:
            page = queries.file_keys(session, after=after, limit=_PAGE)
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1]


def _missing(
    manager: TenantDatabaseManager, storage: Storage, location: TenantLocation, key: str
) -> Iterator[Finding]:
    with manager.tenant_reads(location) as session:
        file = queries.file_by_key(session, key)
    if file is None or file.state != FileState.AVAILABLE:
        return
    try:
        storage.open(key).close()
    except NotFound:
        yield Finding(fault=Fault.MISSING, key=key)


def _is_known(manager: TenantDatabaseManager, location: TenantLocation, key: str) -> bool:
    with manager.tenant_reads(location) as session:
        return (
            queries.file_by_key(session, key) is not None
            # On its way to its final key, or about to be sent once more.
            or queries.is_arriving(session, files.id_in(key))
        )


def _stray(storage: Storage, key: str, *, apply: bool) -> Finding:
    if apply:
        storage.delete(key)
    return Finding(fault=Fault.STRAY, key=key, outcome="deleted" if apply else None)
