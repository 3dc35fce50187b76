"""Which tenants there are, for whom, and where their data lies."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from app.core import events
from app.core.db import MainSession, main_session, platform_session
from app.core.errors import AppError, NotFound
from app.core.pages import Cursors, Page, page_of
from app.core.tasks import TenantClosed, TenantGone
from app.domains.tenants import queries
from app.domains.tenants.errors import TenantHeld, TenantReadOnly
from app.domains.tenants.events import TenantRenamed
from app.domains.tenants.models import Tenant, TenantState
from app.domains.tenants.queries import Membership
from app.domains.tenants.service import servers
from app.tenancy.locations import TenantLocation
from app.tenancy.names import tenant_id_of

# Of a tenant, for those who count them.
STATES = tuple(map(str, TenantState))


def memberships(
    session: MainSession, *, user_id: UUID, cursors: Cursors, cursor: str | None, limit: int
) -> Page[Membership]:
    after = None if cursor is None else cursors.load(cursor)
    rows = queries.memberships(session, user_id=user_id, after=after, limit=limit + 1)
    return page_of(rows, limit=limit, cursors=cursors, id_of=lambda row: row.id)


def all_tenants(
    session: MainSession,
    *,
    user_id: UUID,
    state: str | None,
    cursors: Cursors,
    cursor: str | None,
    limit: int,
) -> Page[Membership]:
    """Every tenant, for an administrator of the platform: others' sessions see only their own."""
    after = None if cursor is None else cursors.load(cursor)
    rows = queries.all_tenants(session, user_id=user_id, state=state, after=after, limit=limit + 1)
    return page_of(rows, limit=limit, cursors=cursors, id_of=lambda row: row.id)


def membership(session: MainSession, *, user_id: UUID, tenant_id: UUID) -> Membership:
    found = queries.membership(session, user_id=user_id, tenant_id=tenant_id)
    if found is None:
        raise NotFound("There is no such tenant.")
    return found


def membership_now(*, user_id: UUID, tenant_id: UUID) -> Membership:
    """`membership` in a transaction of its own, for work that spans several."""
    with main_session(user_id=user_id, tenant_id=tenant_id) as session:
        return membership(session, user_id=user_id, tenant_id=tenant_id)


def rename(session: MainSession, *, user_id: UUID, tenant_id: UUID, name: str) -> Membership:
    tenant = queries.tenant_for_change(session, tenant_id)
    if tenant is None:
        raise NotFound("There is no such tenant.")
    former, tenant.name = tenant.name, name
    events.record(session, TenantRenamed(tenant_id=tenant_id, former=former, name=name))
    session.flush()  # what is told is what was written
    return membership(session, user_id=user_id, tenant_id=tenant_id)


def slug_of(session: MainSession, *, tenant_id: UUID) -> str:
    tenant = queries.tenant(session, tenant_id)
    if tenant is None:
        raise NotFound("There is no such tenant.")
    return tenant.slug


def name_of(session: MainSession, tenant_id: UUID) -> str | None:
    """For a session in the tenant's name."""
    tenant = queries.tenant(session, tenant_id)
    return None if tenant is None else tenant.name


def find_by_slug(session: MainSession, slug: str) -> Tenant | None:
    return queries.tenant_by_slug(session, slug)


def active_location(database: str) -> TenantLocation:
    """Where the data of a tenant lies that is neither suspended nor gone.

    Raises:
        NotFound: there is no such tenant, or it is not active.
    """
    registry = TenantRegistry()
    try:
        return registry.locate_ready(registry.locate(database).tenant_id)
    except TenantClosed:
        raise NotFound("There is no such tenant database.") from None


def active_locations() -> Sequence[TenantLocation]:
    """Where the data of all active tenants lies: for scripts, with the platform's role."""
    with platform_session() as session:
        return queries.active_locations(session)


def active_ids_after(after: UUID | None, limit: int) -> Sequence[UUID]:
    """A page of the active tenants' ids, with the platform's role."""
    with platform_session() as session:
        return queries.active_ids(session, after=after, limit=limit)


class TenantRegistry:
    """`app.tenancy.locations.Registry` over the ledger in the main database."""

    def locate(self, database: str) -> TenantLocation:
        try:
            tenant_id = tenant_id_of(database)
        except ValueError:
            raise NotFound("There is no such tenant database.") from None
        location = self.locate_tenant(tenant_id)
        if location.database != database:
            raise NotFound("There is no such tenant database.")
        return location

    def sealed_servers(self) -> Mapping[str, str]:
        with main_session() as session:
            return servers.sealed(session)

    def locate_tenant(self, tenant_id: UUID) -> TenantLocation:
        with main_session(tenant_id=tenant_id) as session:
            location = queries.location(session, tenant_id)
        if location is None:
            raise NotFound("There is no such tenant database.")
        return location

    def why_read_only(self, tenant_id: UUID) -> AppError | None:
        """A hold passes by itself, so it is told of first."""
        with main_session(tenant_id=tenant_id) as session:
            tenant = queries.tenant(session, tenant_id)
            row = queries.database(session, tenant_id)
        if row is not None and row.held_until is not None:
            return TenantHeld("This tenant's data can be changed again in a moment.")
        if tenant is not None and tenant.read_only_since is not None:
            return TenantReadOnly("This tenant is read-only; its owner can tell you why.")
        return None

    def locate_writable(self, tenant_id: UUID) -> TenantLocation:
        """`locate_ready` for work that writes.

        Raises:
            TenantGone, TenantClosed: as there; closed is also a tenant that is read-only.
        """
        location = self.locate_ready(tenant_id)
        if location.read_only:
            raise TenantClosed("The tenant is read-only.")
        return location

    def locate_ready(self, tenant_id: UUID) -> TenantLocation:
        """The same for work that waits until the tenant's database may be used.

        Raises:
            TenantGone: there is no such tenant any more, and it cannot be restored.
            TenantClosed: it is suspended or deleted, or its database is not made yet.
        """
        with main_session(tenant_id=tenant_id) as session:
            tenant = queries.tenant(session, tenant_id)
            location = queries.location(session, tenant_id)
        if tenant is None or tenant.state in {TenantState.PURGING, TenantState.PURGED}:
            raise TenantGone("There is no such tenant.")
        if tenant.state != TenantState.ACTIVE or location is None:
            raise TenantClosed(f"The tenant is {tenant.state}.")
        return location
