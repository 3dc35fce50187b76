"""A database beside a tenant's: made by the recipe of every tenant's, filled, inspected, at head.

Whatever goes wrong, the tenant's own database and files are what they were.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from app.core.errors import AppError
from app.domains.backups.errors import BackupDamaged, BackupTooNew
from app.domains.backups.service.taking import tidy
from app.domains.tenants.service import kept
from app.integrations.storage import Storage
from app.settings import Settings
from app.tenancy import migrations, templates
from app.tenancy.inspection.catalog import read_catalog
from app.tenancy.inspection.drift import differences
from app.tenancy.inspection.isolation import audit_database
from app.tenancy.locations import TenantLocation
from app.tenancy.manager import TenantDatabaseManager
from app.tenancy.migrations import tree
from app.tenancy.migrations.tree import UnknownRevision
from app.tenancy.server import Server

# How long it waits to be swapped in.
_WAITS: Final = timedelta(days=2)
# What belongs to the processes of one installation, or to one tenant's trail, goes to no copy.
_STAYS: Final = ("outbox", "inbox", "idempotency", "audit", "webhook")


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """It is whole; ``kept_id`` is what swaps it in."""

    kept_id: UUID
    location: TenantLocation
    revision: str


def require_known(revision: str) -> None:
    """Raises: BackupTooNew: this code has no such revision of a tenant's schema."""
    try:
        tree.current().place(revision)
    except UnknownRevision:
        raise BackupTooNew(f"Its schema is at {revision}, which this code does not know.") from None


def make(
    manager: TenantDatabaseManager,
    storage: Storage,
    settings: Settings,
    *,
    tenant_id: UUID,
    revision: str,
    fill: Callable[[TenantLocation], None],
    backup_id: UUID | None = None,
) -> Beside:
    """An empty database of the revision, filled by ``fill``, then brought to head. Needs `claimed`.

    Raises:
        TenantGone, WrongState: there is no such tenant, or it has no database to lie beside.
        BackupDamaged: it is not what a new tenant's would be; like all that ``fill`` raises, this
            leaves nothing behind.
    """
    tidy(manager, storage, settings, tenant_id=tenant_id)
    kept_id, location = kept.reserve(
        manager,
        tenant_id=tenant_id,
        backup_id=backup_id,
        kept=_WAITS,
        opaque=settings.opaque_database_names,
    )
    try:
        manager.create_empty_database(location, revision)
        fill(location)
        _inspect(manager.server_of(location), location)
        head = manager.migrate_tenant_database(location)
    except BaseException:
        with suppress(AppError):  # the next tidying, or the hour, sees to what stays
            kept.drop(manager, storage, tenant_id=tenant_id, kept_id=kept_id)
        raise
    kept.make_ready(tenant_id=tenant_id, kept_id=kept_id, revision=head)
    return Beside(kept_id=kept_id, location=location, revision=head)


def put_in_place(
    manager: TenantDatabaseManager, storage: Storage, made: Beside, *, tenant_id: UUID
) -> None:
    """Makes it the database of a tenant that has an empty one, which is dropped."""
    kept.swap(manager, tenant_id=tenant_id, kept_id=made.kept_id, grace=_WAITS)
    kept.drop(manager, storage, tenant_id=tenant_id, kept_id=made.kept_id)


def is_carried(table: str) -> bool:
    """Whether a copy for another tenant has the table's rows."""
    return not table.startswith(_STAYS)


def _inspect(server: Server, location: TenantLocation) -> None:
    """Its catalog is what its revision makes, and its role may do no more than any tenant's.

    Raises:
        BackupDamaged: it is not.
    """
    with server.connect_as_owner(location.database) as connection:
        actual = read_catalog(connection)
        revision = migrations.applying.read_version(connection)
    with (
        templates.scratch(server, revision) as name,
        server.connect_as_owner(name) as connection,
    ):
        found = [each.words for each in differences(read_catalog(connection), actual)]
    found += [breach.words for breach in audit_database(server, location)]
    if found:
        raise BackupDamaged(f"What was restored is not as a new tenant's database: {found[0]}")
