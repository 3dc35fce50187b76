"""What jobs do about directories: tokens renewed before they expire, and what is old, forgotten."""

from datetime import timedelta
from secrets import randbelow
from typing import Final

from sqlalchemy import delete, text, update

from app.core import clock
from app.core.db import MainSession
from app.core.readings import SsoFigures
from app.domains.jobs import service as jobs
from app.domains.sso import queries
from app.domains.sso.models import SSOAttempt, Status, UserAzureIdentity
from app.settings import Settings

_MOST_AT_ONCE: Final = 500
# A round's jobs are spread over as long as it takes until the next round.
_SPREAD_SECONDS: Final = 45
# A job that is lost is scheduled again after this.
_GIVEN_OUT: Final = timedelta(minutes=5)
_KEPT_CACHE: Final = timedelta(days=30)

# Rows of other domains' tables are named, not loaded: across tenants, as the platform's role.
_OF_NOBODY: Final = text(
    """
    DELETE FROM user_azure_identities i WHERE NOT EXISTS (
        SELECT FROM user_tenant_associations a
        WHERE a.user_id = i.user_id AND a.tenant_id = i.tenant_id
    )
    """
)
_OF_NO_TENANT: Final = text(
    """
    DELETE FROM tenant_sso_configs c USING tenants t
    WHERE t.id = c.tenant_id AND t.state = 'purged'
    """
)


def schedule_refreshes(session: MainSession, settings: Settings) -> int:
    """Gives each token that expires soon a job of its own; how many.

    The session is the platform's. Any number of these may run at once: each takes others.
    """
    now = clock.now()
    before = now + timedelta(seconds=settings.sso_refresh_before_seconds)
    due = queries.due_for_change(session, before=before, limit=_MOST_AT_ONCE)
    for identity in due:
        identity.refresh_at = now + _GIVEN_OUT
        jobs.schedule(
            session,
            "sso.refresh_identity",
            due_at=now + timedelta(seconds=randbelow(_SPREAD_SECONDS)),
            identity=str(identity.id),
            tenant=str(identity.tenant_id),
        )
    return len(due)


def clean_up(session: MainSession, settings: Settings) -> None:
    """Forgets whom no tenant knows, tokens that will never be used, and old failures.

    The session is the platform's.
    """
    now = clock.now()
    session.execute(_OF_NOBODY)
    session.execute(_OF_NO_TENANT)
    session.execute(
        update(UserAzureIdentity)
        .where(UserAzureIdentity.status.in_((Status.EXPIRED, Status.STEP_UP)))
        .where(UserAzureIdentity.updated_at < now - _KEPT_CACHE)
        .values(sealed_cache=None, access_expires_at=None)
    )
    old = now - timedelta(days=settings.sso_attempt_days)
    session.execute(delete(SSOAttempt).where(SSOAttempt.created_at < old))


def figures(session: MainSession) -> SsoFigures:
    rows = queries.figures(session)
    soonest = [at for status, _, at in rows if status == Status.CONNECTED and at is not None]
    return SsoFigures(
        identities=dict.fromkeys(map(str, Status), 0)
        | {status: count for status, count, _ in rows},
        refreshes={"refreshed": 0} | queries.totals(session),
        soonest_expiry_seconds=(soonest[0] - clock.now()).total_seconds() if soonest else 0,
    )
