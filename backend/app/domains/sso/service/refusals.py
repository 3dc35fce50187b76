"""A refused sign-in is told: to the trail, and to the owners of the tenant that it was about."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from app.core import events
from app.core.db import MainSession, main_session
from app.core.pages import Cursors, Page, page_of
from app.domains.sso import queries
from app.domains.sso.errors import LoginRefused
from app.domains.sso.events import SsoLoginRefused
from app.domains.sso.models import SSOAttempt
from app.domains.sso.service.advice import advice
from app.integrations.directory_http import DirectoryUnavailable


class Told:
    """The tenant of a sign-in, and the page that waits for its end, as soon as they are known."""

    tenant_id: UUID | None = None
    return_to: str | None = None


@contextmanager
def told(*, address: str | None) -> Iterator[Told]:
    """Whatever refuses inside is told, in a transaction of its own."""
    about = Told()
    try:
        yield about
    except LoginRefused as error:
        error.return_to = about.return_to
        _tell(
            about.tenant_id,
            address=address,
            reason=error.reason,
            aadsts=error.aadsts,
            account=error.account,
        )
        raise
    except DirectoryUnavailable:
        _tell(about.tenant_id, address=address, reason="directory_unavailable")
        raise


def list_attempts(
    session: MainSession, *, tenant_id: UUID, cursors: Cursors, cursor: str | None, limit: int
) -> Page[SSOAttempt]:
    """The tenant's failed sign-ins, newest first."""
    after = None if cursor is None else cursors.load(cursor)
    rows = queries.attempts(session, tenant_id=tenant_id, after=after, limit=limit + 1)
    return page_of(rows, limit=limit, cursors=cursors, id_of=lambda row: row.id)


def advice_for(attempt: SSOAttempt) -> str:
    return advice(attempt.reason, attempt.aadsts)


def _tell(
    tenant_id: UUID | None,
    *,
    address: str | None,
    reason: str,
    aadsts: str | None = None,
    account: str | None = None,
) -> None:
    with main_session(tenant_id=tenant_id) as session:
        events.record(session, SsoLoginRefused(tenant_id=tenant_id, reason=reason, aadsts=aadsts))
        if tenant_id is not None:
            session.add(
                SSOAttempt(
                    tenant_id=tenant_id,
                    reason=reason,
                    aadsts=aadsts,
                    account=account,
                    address=address,
                )
            )
