"""What the main database says of tenants, read as the platform."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import select, text, update

from app.core import clock
from app.core.db import platform_session
from app.domains.audit.models import PlatformEntry
from app.domains.jobs.models import Job, JobState
from app.domains.tenants.models import Tenant, TenantDatabase, TenantState
from app.domains.tenants.service.directory import TenantRegistry
from tests.tenancy.laboratory import Laboratory


def tenants_by_slug() -> dict[str, list[Tenant]]:
    """The tenants that are not purged."""
    found: dict[str, list[Tenant]] = {}
    with platform_session() as session:
        for tenant in session.scalars(select(Tenant).where(Tenant.state != TenantState.PURGED)):
            found.setdefault(tenant.slug, []).append(tenant)
    return found


def tenant_row(tenant_id: UUID) -> Tenant:
    with platform_session() as session:
        return session.scalars(select(Tenant).where(Tenant.id == tenant_id)).one()


def ledger_row(tenant_id: UUID) -> TenantDatabase | None:
    with platform_session() as session:
        return session.get(TenantDatabase, tenant_id)


def trail(tenant_id: UUID) -> list[PlatformEntry]:
    """What was recorded about the tenant, oldest first."""
    with platform_session() as session:
        return list(
            session.scalars(
                select(PlatformEntry)
                .where(PlatformEntry.tenant_id == tenant_id)
                .order_by(PlatformEntry.id)
            )
        )


def jobs_of(tenant_id: UUID) -> list[Job]:
    """The tenant's jobs that are not over, the first to be due first."""
    with platform_session() as session:
        return list(
            session.scalars(
                select(Job)
                .where(Job.tenant_id == tenant_id, Job.state == JobState.WAITING)
                .order_by(Job.due_at)
            )
        )


def run_jobs(lab: Laboratory, tenant_id: UUID) -> None:
    """Those that are due within a minute, as a worker does."""
    soon = clock.now() + timedelta(minutes=1)
    for job in jobs_of(tenant_id):
        if job.due_at <= soon:
            with platform_session() as session:
                session.execute(update(Job).where(Job.id == job.id).values(due_at=clock.now()))
            lab.app.extensions["celery"].tasks["jobs.run"].apply(kwargs={"job_id": str(job.id)})


def databases_in_ledger() -> set[str]:
    with platform_session() as session:
        return set(session.scalars(select(TenantDatabase.database)))


def set_state(tenant_id: UUID, state: TenantState) -> None:
    """As a process that died just then leaves it."""
    with platform_session() as session:
        session.scalars(select(Tenant).where(Tenant.id == tenant_id)).one().state = state


def serves(lab: Laboratory, tenant_id: UUID) -> bool:
    """The tenant's tables can be read and written."""
    location = TenantRegistry().locate_tenant(tenant_id)
    with lab.manager.tenant_db_session(location) as session:
        session.execute(text("DELETE FROM documents"))
        return bool(session.scalar(text("SELECT current_database()")) == location.database)
