"""Reads of directories, the people in them, and failed sign-ins."""

from collections.abc import Sequence
from datetime import datetime
from typing import cast
from uuid import UUID

from sqlalchemy import delete, func, select, text

from app.core import clock
from app.core.db import MainSession
from app.domains.sso.models import SSOAttempt, Status, TenantSSOConfig, UserAzureIdentity

# Narrow SECURITY DEFINER functions, across row level security.
_BY_DOMAIN = text("SELECT sso_by_domain(:domain)")
_FIGURES = text("SELECT status, identities, soonest FROM sso_figures()")
_TOTALS = text("SELECT outcome, total FROM sso_refresh_totals ORDER BY outcome")


def config(session: MainSession, tenant_id: UUID, *, lock: bool = False) -> TenantSSOConfig | None:
    statement = select(TenantSSOConfig).where(TenantSSOConfig.tenant_id == tenant_id)
    return session.scalar(statement.with_for_update() if lock else statement)


def identity(
    session: MainSession, *, tenant_id: UUID, directory_id: UUID, object_id: UUID
) -> UserAzureIdentity | None:
    return session.scalar(
        select(UserAzureIdentity).where(
            UserAzureIdentity.tenant_id == tenant_id,
            UserAzureIdentity.directory_id == directory_id,
            UserAzureIdentity.object_id == object_id,
        )
    )


def identity_by_id(session: MainSession, identity_id: UUID) -> UserAzureIdentity | None:
    """As it is now, also where the session has read it before."""
    return session.get(UserAzureIdentity, identity_id, populate_existing=True)


def forget_identities(session: MainSession, tenant_id: UUID) -> None:
    session.execute(delete(UserAzureIdentity).where(UserAzureIdentity.tenant_id == tenant_id))


def identities_of(session: MainSession, user_id: UUID) -> Sequence[UserAzureIdentity]:
    """The newest sign-in first."""
    return session.scalars(
        select(UserAzureIdentity)
        .where(UserAzureIdentity.user_id == user_id)
        .order_by(UserAzureIdentity.last_login_at.desc().nulls_last())
    ).all()


def due_for_change(
    session: MainSession, *, before: datetime, limit: int
) -> Sequence[UserAzureIdentity]:
    """Those whose tokens are to be renewed, of which nobody else is given the same."""
    now = clock.now()
    return session.scalars(
        select(UserAzureIdentity)
        .where(UserAzureIdentity.status == Status.CONNECTED)
        .where(UserAzureIdentity.access_expires_at <= before)
        .where(func.coalesce(UserAzureIdentity.refresh_at, now) <= now)
        .where(func.coalesce(UserAzureIdentity.refreshing_until, now) <= now)
        .order_by(UserAzureIdentity.access_expires_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()


def attempts(
    session: MainSession, *, tenant_id: UUID, after: UUID | None, limit: int
) -> Sequence[SSOAttempt]:
    """Newest first, at most ``limit``, after the id given."""
    statement = (
        select(SSOAttempt)
        .where(SSOAttempt.tenant_id == tenant_id)
        .order_by(SSOAttempt.id.desc())
        .limit(limit)
    )
    if after is not None:
        statement = statement.where(SSOAttempt.id < after)
    return session.scalars(statement).all()


def tenant_by_domain(session: MainSession, domain: str) -> UUID | None:
    """Whose directory signs in the people of an e-mail domain."""
    return cast("UUID | None", session.scalar(_BY_DOMAIN, {"domain": domain}))


def figures(session: MainSession) -> Sequence[tuple[str, int, datetime | None]]:
    """Of each status: how many, and when the first of their tokens expires."""
    return [(row.status, row.identities, row.soonest) for row in session.execute(_FIGURES)]


def totals(session: MainSession) -> dict[str, int]:
    return {row.outcome: row.total for row in session.execute(_TOTALS)}
