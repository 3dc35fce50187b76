"""Reads of backups and of exports."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.dialects.postgresql import distinct_on

from app.core import clock
from app.core.db import MainSession
from app.domains.backups.models import Backup, BackupState, Export, ExportState


def backups(session: MainSession, *, tenant_id: UUID | None) -> Sequence[Backup]:
    """The newest first."""
    statement = select(Backup).order_by(Backup.id.desc())
    if tenant_id is not None:
        statement = statement.where(Backup.tenant_id == tenant_id)
    return session.scalars(statement).all()


def page(
    session: MainSession, *, tenant_id: UUID, before: UUID | None, limit: int
) -> Sequence[Backup]:
    """A tenant's, the newest first."""
    statement = select(Backup).where(Backup.tenant_id == tenant_id)
    if before is not None:
        statement = statement.where(Backup.id < before)
    return session.scalars(statement.order_by(Backup.id.desc()).limit(limit)).all()


def of_tenant(session: MainSession, *, tenant_id: UUID, backup_id: UUID) -> Backup | None:
    return session.scalar(
        select(Backup).where(Backup.tenant_id == tenant_id, Backup.id == backup_id)
    )


def requested(session: MainSession, *, before: datetime) -> Sequence[Backup]:
    """Those that were ordered before the time and have not begun."""
    statement = select(Backup).where(
        Backup.state == BackupState.REQUESTED, Backup.created_at < before
    )
    return session.scalars(statement).all()


def newest(session: MainSession, tenant_id: UUID) -> Backup | None:
    """The newest that is complete."""
    statement = select(Backup).where(Backup.tenant_id == tenant_id, Backup.active)
    return session.scalar(statement.order_by(Backup.id.desc()).limit(1))


def newest_of_all(session: MainSession) -> dict[UUID, Backup]:
    statement = (
        select(Backup)
        .where(Backup.active)
        .ext(distinct_on(Backup.tenant_id))
        .order_by(Backup.tenant_id, Backup.id.desc())
    )
    return {backup.tenant_id: backup for backup in session.scalars(statement)}


def running(session: MainSession, tenant_id: UUID | None = None) -> Sequence[Backup]:
    statement = select(Backup).where(Backup.state == BackupState.RUNNING)
    if tenant_id is not None:
        statement = statement.where(Backup.tenant_id == tenant_id)
    return session.scalars(statement).all()


def expired(session: MainSession, *, before: datetime) -> Sequence[Backup]:
    """Those from before, but each tenant's newest that is complete."""
    kept = {backup.id for backup in newest_of_all(session).values()}
    old = session.scalars(
        select(Backup).where(
            Backup.created_at < before,
            Backup.state.in_((BackupState.COMPLETE, BackupState.FAILED)),
        )
    )
    return [backup for backup in old if backup.id not in kept]


def exports(
    session: MainSession, *, tenant_id: UUID, before: UUID | None, limit: int
) -> Sequence[Export]:
    """Those whose time is not over, the newest first."""
    statement = _kept_exports(tenant_id).order_by(Export.id.desc()).limit(limit)
    if before is not None:
        statement = statement.where(Export.id < before)
    return session.scalars(statement).all()


def export_of(session: MainSession, *, tenant_id: UUID, export_id: UUID) -> Export | None:
    return session.scalar(_kept_exports(tenant_id).where(Export.id == export_id))


def pending_export(session: MainSession, export_id: UUID) -> Export | None:
    """The export if it is still to be made, locked."""
    return session.scalar(
        select(Export)
        .where(Export.id == export_id, Export.state == ExportState.PENDING)
        .with_for_update()
    )


def overdue_exports(session: MainSession) -> Sequence[Export]:
    return session.scalars(select(Export).where(Export.expires_at <= clock.now())).all()


def _kept_exports(tenant_id: UUID) -> Select[Export]:
    return select(Export).where(Export.tenant_id == tenant_id, Export.expires_at > clock.now())
