"""A tenant's own limits. Its role may only read them, so they are written as the database's owner.

A limit below what is used takes nothing away: nothing more gets in until there is room again.
"""

from uuid import UUID

from app.core import events
from app.domains.documents import queries
from app.domains.documents.events import QuotaChanged
from app.domains.documents.models import Quota
from app.domains.tenants.service import read_only
from app.tenancy.manager import TenantDatabaseManager
from app.tenancy.sessions import owner_session


def get_quota(manager: TenantDatabaseManager, *, tenant_id: UUID) -> Quota:
    """What the tenant may and does keep, whatever its state.

    Raises:
        NotFound, WrongState: there is no such tenant, or it has no database.
        TenantHeld: it is being moved.
    """
    with (
        read_only.undisturbed(tenant_id) as (_, location),
        owner_session(manager.server_of(location), location) as session,
    ):
        return queries.quota(session)


def set_quota(manager: TenantDatabaseManager, *, tenant_id: UUID, **limits: int | None) -> Quota:
    """``limits`` are those that change, of max_bytes and max_documents; None is the installation's.

    It is in both trails: the tenant's and the platform's.

    Raises:
        NotFound, WrongState, TenantHeld: as `get_quota`.
    """
    with read_only.undisturbed(tenant_id) as (main, location):
        with owner_session(manager.server_of(location), location) as session:
            quota = queries.quota_for_change(session)
            changes = {
                name: [getattr(quota, name), value]
                for name, value in limits.items()
                if getattr(quota, name) != value
            }
            for name, (_, value) in changes.items():
                setattr(quota, name, value)
            if changes:
                event = QuotaChanged(tenant_id=tenant_id, changes=changes)
                events.record(session, event)
                events.record(main, event)
        return quota
