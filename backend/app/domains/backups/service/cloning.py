"""Filling a sandbox: the rows and files of its original as of one moment, while that is used."""

import logging
from contextlib import suppress
from uuid import UUID

from app.core.errors import AppError, NotFound, Unavailable
from app.domains.backups.errors import BackupDamaged
from app.domains.backups.service import beside
from app.domains.backups.service.taking import claimed, entry_of
from app.domains.documents.service import stored_files
from app.domains.tenants.errors import WrongState
from app.domains.tenants.service import lifecycle, sandboxes
from app.integrations.storage import Storage
from app.integrations.storage.hashing import chunks_of
from app.settings import Settings
from app.tenancy.copying import CopyDiffers, Copying
from app.tenancy.locations import TenantLocation
from app.tenancy.manager import TenantDatabaseManager
from app.tenancy.migrations import applying
from app.tenancy.server import Connection

logger = logging.getLogger(__name__)


def fill(
    manager: TenantDatabaseManager, storage: Storage, settings: Settings, *, tenant_id: UUID
) -> None:
    """Makes a sandbox that is pending what its original is; of any other, nothing.

    Raises:
        Unavailable: a server that is needed is away; it stays pending.
    """
    sandbox = sandboxes.pending(tenant_id)
    if sandbox is None:
        return
    try:
        with suppress(WrongState):  # it has its database already
            lifecycle.provision(manager, tenant_id=tenant_id)
        with claimed(manager, tenant_id):
            _fill(manager, storage, settings, source_id=sandbox.source_id, tenant_id=tenant_id)
    except Unavailable:
        raise
    except (AppError, CopyDiffers) as error:
        logger.exception("a sandbox was not filled", extra={"tenant": str(tenant_id)})
        sandboxes.settle(tenant_id, failure=type(error).__name__)
    else:
        sandboxes.settle(tenant_id)


def _fill(
    manager: TenantDatabaseManager,
    storage: Storage,
    settings: Settings,
    *,
    source_id: UUID,
    tenant_id: UUID,
) -> None:
    source = entry_of(source_id).location
    with manager.server_of(source).connect_as_owner(
        source.database, lock_timeout_ms=60_000
    ) as original:
        # First: what is erased from now on, the copy does not know.
        stored_files.hold_erasure(original)
        revision = applying.read_version(original)
        if revision is None:
            raise NotFound("This tenant's database holds no schema.")

        def copy(location: TenantLocation) -> None:
            with manager.server_of(location).connect_as_owner(location.database) as connection:
                Copying(original, connection, carries=beside.is_carried).copy_once()
                _copy_files(storage, connection, source=source.database, target=location.database)

        made = beside.make(
            manager, storage, settings, tenant_id=tenant_id, revision=revision, fill=copy
        )
    beside.put_in_place(manager, storage, made, tenant_id=tenant_id)


def _copy_files(storage: Storage, connection: Connection, *, source: str, target: str) -> None:
    with connection.transaction():
        for file in stored_files.stored(connection):
            with suppress(NotFound):  # missing there, missing here
                _copy_file(storage, file.key, source=source, target=target, sha256=file.sha256)
    stored_files.move_keys(connection, source=source, target=target)


def _copy_file(storage: Storage, key: str, *, source: str, target: str, sha256: str) -> None:
    with storage.open(key) as content:
        moved = stored_files.moved(key, source=source, target=target)
        copied = storage.put(moved, chunks_of(content))
    if copied.sha256 != sha256:
        raise BackupDamaged(f"The bytes at {key} are not those that were stored there.")
