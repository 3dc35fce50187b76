"""Reads of the audit trail."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Select, or_, select
from sqlalchemy.orm import Session

from app.core.db import MainSession
from app.domains.audit.models import Entry, PlatformEntry, TenantEntry

CHECKPOINT = "audit.sealed"
AnyEntry = TypeVar("AnyEntry", TenantEntry, PlatformEntry)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """They narrow down together. An action ends in ``.*`` for all that begin like it.

    ``since`` is in, ``until`` is not. ``actor`` also finds what a job did on somebody's behalf.
    """

    actor: UUID | None = None
    actions: Sequence[str] = ()
    target: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    tenant_id: UUID | None = None

    def given(self) -> dict[str, str | list[str]]:
        """For the entry that tells of the reading."""
        return {
            name: list(value) if name == "actions" else str(value)
            for name, value in asdict(self).items()
            if value
        }

    def apply(self, statement: Select[Any], table: type[Entry]) -> Select[Any]:
        if self.actor is not None:
            statement = statement.where(
                or_(table.user_id == self.actor, table.on_behalf_of == self.actor)
            )
        if self.actions:
            statement = statement.where(or_(*(_is_action(table, each) for each in self.actions)))
        if self.target is not None:
            statement = statement.where(table.target == self.target)
        if self.since is not None:
            statement = statement.where(table.recorded_at >= self.since)
        if self.until is not None:
            statement = statement.where(table.recorded_at < self.until)
        if self.tenant_id is not None and issubclass(table, PlatformEntry):
            statement = statement.where(table.tenant_id == self.tenant_id)
        return statement


def _is_action(table: type[Entry], action: str) -> Any:
    if action.endswith(".*"):
        return table.type.startswith(action[:-1], autoescape=True)
    return table.type == action


def entries(
    session: Session,
    table: type[AnyEntry],
    filters: Filters,
    *,
    after: UUID | None,
    limit: int,
    oldest_first: bool = False,
) -> Sequence[AnyEntry]:
    """At most ``limit``, in the order of their ids, after the id given.

    Checkpoints are no business of those who read a tenant's trail, unless they ask for them.
    """
    statement = filters.apply(select(table), table)
    if filters.tenant_id is not None and not filters.actions:
        statement = statement.where(table.type != CHECKPOINT)
    if after is not None:
        statement = statement.where(table.id > after if oldest_first else table.id < after)
    order = table.id if oldest_first else table.id.desc()
    return session.scalars(statement.order_by(order).limit(limit)).all()


def last_checkpoint(session: MainSession, tenant_id: UUID) -> PlatformEntry | None:
    """Of the tenant's trail, in whatever database it lay."""
    found = checkpoints(session, tenant_id, after=None, limit=1)
    return found[0] if found else None


def checkpoints(
    session: MainSession, tenant_id: UUID, *, after: UUID | None, limit: int
) -> Sequence[PlatformEntry]:
    """The newest first."""
    statement = select(PlatformEntry).where(
        PlatformEntry.tenant_id == tenant_id, PlatformEntry.type == CHECKPOINT
    )
    if after is not None:
        statement = statement.where(PlatformEntry.id < after)
    return session.scalars(statement.order_by(PlatformEntry.id.desc()).limit(limit)).all()


def of_type(session: MainSession, tenant_id: UUID, kind: str) -> Sequence[PlatformEntry]:
    """What the platform's trail holds of one kind about a tenant, the oldest first."""
    return session.scalars(
        select(PlatformEntry)
        .where(PlatformEntry.tenant_id == tenant_id, PlatformEntry.type == kind)
        .order_by(PlatformEntry.id)
    ).all()
