"""A person's tokens at a directory: used while they are good, renewed by one at a time.

MSAL's cache is one sealed text. Whoever renews it takes a lease on the row, asks the directory with
no transaction open, and stores the new text where the version is still the one that was read. Who
dies in between has changed nothing: the lease runs out, and the former text is there.
"""

import logging
import time
from dataclasses import dataclass
from datetime import timedelta
from secrets import randbelow
from typing import Any, Final, Literal, cast
from uuid import UUID

from sqlalchemy import CursorResult, func, update
from sqlalchemy.dialects.postgresql import insert

from app.core import clock, events
from app.core.db import MainSession, main_session
from app.domains.identity.service import sessions
from app.domains.sso import queries
from app.domains.sso.errors import ConnectionLost, NoConnection
from app.domains.sso.events import ConnectionEnded
from app.domains.sso.models import SSORefreshTotal, Status, TenantSSOConfig, UserAzureIdentity
from app.domains.sso.service import Ports, admission, configuration
from app.domains.sso.service.advice import EXPIRED, is_of_application
from app.domains.tenants.service import members
from app.integrations.directory_http import DirectoryUnavailable
from app.integrations.entra import GrantRefused, Tokens, access_token_in
from app.integrations.id_tokens import InvalidIdToken

logger = logging.getLogger(__name__)

Outcome = Literal[
    "refreshed", "step_up", "expired", "revoked", "application", "unavailable", "refused"
]

# Longer than discovery and token together may take at the timeouts' usual values.
_LEASE: Final = timedelta(seconds=60)
_STILL_GOOD: Final = timedelta(seconds=60)
# MSAL and Entra themselves remember refusals for a minute.
_NEXT_TRY_SECONDS: Final = 90
_JITTER_SECONDS: Final = 30
_MENDED_BY_PEOPLE: Final = 15 * 60
_PATIENCE_SECONDS: Final = 15.0
_LOOK_EVERY: Final = 0.1
_FURTHER_SIGN_IN: Final = frozenset({"interaction_required", "login_required", "consent_required"})
_OF_GRANT: Final = frozenset({"invalid_grant", "no_account", "no_refresh_token"})
_LOST: Final = {
    Status.STEP_UP: "The directory asks for a further sign-in.",
    Status.EXPIRED: "The connection was not used for too long.",
    Status.REVOKED: "The directory has ended the connection.",
}


@dataclass(frozen=True, slots=True)
class _Claimed:
    """A lease on somebody's tokens, as they were read."""

    identity_id: UUID
    tenant_id: UUID
    user_id: UUID
    version: int
    sealed_cache: str | None


@dataclass(frozen=True, slots=True)
class Access:
    """A person's access token, and the row that it is out of."""

    token: str
    identity: UserAzureIdentity


def access(ports: Ports, *, user_id: UUID, tenant_id: UUID | None) -> Access:
    """A token that is good for a minute at least; renewed where it is not.

    Without ``tenant_id`` it is that of the directory where the person signed in last.

    Raises:
        NoConnection: the account is linked with no such directory.
        ConnectionLost: the directory gives no more tokens before another sign-in.
        DirectoryUnavailable: it is away, and the token has expired.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        identity = _of_person(ports, user_id, tenant_id)
        expires_at = identity.access_expires_at
        if expires_at is not None and expires_at > clock.now() + _STILL_GOOD:
            token = access_token_in(_opened(ports, identity.tenant_id, identity.sealed_cache))
            if token is not None:
                return Access(token, identity)
        outcome = renew(
            ports,
            tenant_id=identity.tenant_id,
            identity_id=identity.id,
            version=identity.version,
        )
        if outcome in {"unavailable", "application", "refused"}:
            raise DirectoryUnavailable("The directory gives no token just now; try again later.")
        if outcome is None:  # somebody else is renewing it
            time.sleep(_LOOK_EVERY)
    raise DirectoryUnavailable("The directory gives no token just now; try again later.")


def renew(
    ports: Ports, *, tenant_id: UUID, identity_id: UUID, version: int | None = None
) -> Outcome | None:
    """Renews the tokens; None where there is nothing to do, or somebody else does it.

    Without a ``version`` it does so only if they expire soon; with it, only if they are those.
    """
    claimed = _claim(ports, tenant_id=tenant_id, identity_id=identity_id, version=version)
    if claimed is None:
        return None
    with main_session(tenant_id=tenant_id) as session:
        config = queries.config(session, tenant_id)
    if config is None:
        _postpone(claimed, "application", seconds=_MENDED_BY_PEOPLE)
        return "application"
    return _renew(ports, config, claimed)


def _renew(ports: Ports, config: TenantSSOConfig, claimed: _Claimed) -> Outcome:
    try:
        tokens = ports.entra.renew(
            configuration.registration(ports, config),
            _opened(ports, claimed.tenant_id, claimed.sealed_cache),
        )
    except GrantRefused as error:
        return _refused(claimed, error)
    except DirectoryUnavailable as error:
        _postpone(claimed, "unavailable", seconds=max(error.retry_after or 0, _NEXT_TRY_SECONDS))
        return "unavailable"
    except InvalidIdToken:
        _postpone(claimed, "refused", seconds=_NEXT_TRY_SECONDS)
        return "refused"
    if _store(ports, claimed, tokens):
        _reread_role(ports, claimed, tokens)
    return "refreshed"


def lost(ports: Ports, identity: UserAzureIdentity, detail: str) -> ConnectionLost:
    """With where to sign in again, and show there what the directory wants to see."""
    address = configuration.login_url(ports.settings, identity.tenant_id)
    if identity.claims_challenge is not None:
        claims = {"claims": identity.claims_challenge}
        seconds = ports.settings.sso_login_seconds
        address += f"?step_up={ports.parcels.keep('step_up', claims, seconds=seconds)}"
    return ConnectionLost(f"{detail} Sign in with it again.", login_url=address)


def _of_person(ports: Ports, user_id: UUID, tenant_id: UUID | None) -> UserAzureIdentity:
    with main_session(user_id=user_id) as session:
        found = [
            identity
            for identity in queries.identities_of(session, user_id)
            if tenant_id in {None, identity.tenant_id}
        ]
    if not found:
        raise NoConnection("Your account is linked with no directory.")
    if found[0].status != Status.CONNECTED:
        raise lost(ports, found[0], _LOST[Status(found[0].status)])
    return found[0]


def _claim(
    ports: Ports, *, tenant_id: UUID, identity_id: UUID, version: int | None
) -> _Claimed | None:
    """A lease, for one of all who ask at the same time."""
    now = clock.now()
    soon = now + timedelta(seconds=ports.settings.sso_refresh_before_seconds)
    table = UserAzureIdentity
    wanted = table.access_expires_at <= soon if version is None else table.version == version
    with main_session(tenant_id=tenant_id) as session:
        row = session.execute(
            update(table)
            .where(table.id == identity_id, table.status == Status.CONNECTED, wanted)
            .where(func.coalesce(table.refreshing_until, now) <= now)
            .where(table.sealed_cache.is_not(None))
            .values(refreshing_until=now + _LEASE)
            .returning(table.id, table.tenant_id, table.user_id, table.version, table.sealed_cache)
        ).one_or_none()
    return None if row is None else _Claimed(*row)


def _store(ports: Ports, claimed: _Claimed, tokens: Tokens) -> bool:
    """Whether the tokens were stored: not where somebody signed in anew meanwhile."""
    sealed = ports.secrets.seal(tokens.cache, context=str(claimed.tenant_id))
    now = clock.now()
    return _finish(
        claimed,
        "refreshed",
        sealed_cache=sealed,
        access_expires_at=tokens.expires_at,
        last_refreshed_at=now,
        refresh_at=None,
    )


def _postpone(claimed: _Claimed, outcome: Outcome, *, seconds: int) -> None:
    """The connection is what it was; a job tries again later, and not all of them at once."""
    later = clock.now() + timedelta(seconds=seconds + randbelow(_JITTER_SECONDS))
    _finish(claimed, outcome, refresh_at=later)


def _refused(claimed: _Claimed, error: GrantRefused) -> Outcome:
    outcome = sort(error)
    if outcome == "application":
        configuration.blame(claimed.tenant_id, error)
        _postpone(claimed, outcome, seconds=_MENDED_BY_PEOPLE)
    elif outcome == "refused":
        logger.warning("a directory refuses", extra={"reason": str(error)})
        _postpone(claimed, outcome, seconds=_MENDED_BY_PEOPLE)
    else:
        _end(claimed, Status(outcome), error)
    return outcome


def sort(error: GrantRefused) -> Outcome:
    """What a refusal means for the connection; an outage is none, and never ends one."""
    if is_of_application(error.error, error.aadsts):
        return "application"
    if error.error in _FURTHER_SIGN_IN or error.claims:
        return "step_up"
    if error.error in _OF_GRANT:
        return "expired" if error.aadsts in EXPIRED else "revoked"
    return "refused"


def _end(claimed: _Claimed, status: Status, error: GrantRefused) -> None:
    """No more tokens. Who was revoked is signed out at once; who only has to sign in again, not."""
    with main_session(tenant_id=claimed.tenant_id) as session:
        values: dict[str, Any] = {"status": status, "claims_challenge": error.claims}
        if status == Status.REVOKED:
            values |= {"sealed_cache": None, "access_expires_at": None}
        if not _write(session, claimed, status.value, values):
            return
        ended = 0
        if status == Status.REVOKED:
            ended = sessions.end_directory(
                session, user_id=claimed.user_id, tenant_id=claimed.tenant_id
            )
        events.record(
            session,
            ConnectionEnded(
                user_id=claimed.user_id,
                tenant_id=claimed.tenant_id,
                status=status,
                aadsts=error.aadsts,
                sessions=ended,
            ),
        )


def _finish(claimed: _Claimed, outcome: Outcome, **values: Any) -> bool:
    with main_session(tenant_id=claimed.tenant_id) as session:
        return _write(session, claimed, outcome, values)


def _write(session: MainSession, claimed: _Claimed, outcome: str, values: dict[str, Any]) -> bool:
    """Compare and set, and the end of the lease; counted either way."""
    total = insert(SSORefreshTotal).values(outcome=outcome, total=1)
    session.execute(
        total.on_conflict_do_update(
            index_elements=["outcome"], set_={"total": SSORefreshTotal.total + 1}
        )
    )
    table = UserAzureIdentity
    result = session.execute(
        update(table)
        .where(table.id == claimed.identity_id, table.version == claimed.version)
        .values(version=table.version + 1, refreshing_until=None, **values)
    )
    return bool(cast("CursorResult[Any]", result).rowcount)


def _reread_role(ports: Ports, claimed: _Claimed, tokens: Tokens) -> None:
    """Whoever lost all groups with a role is signed out; who changed them changes here too."""
    given = admission.role_of(ports, tenant_id=claimed.tenant_id, access_token=tokens.access_token)
    who = {"tenant_id": claimed.tenant_id, "user_id": claimed.user_id}
    with main_session(tenant_id=claimed.tenant_id) as session:
        if members.standing(session, **who) is None:
            return
        if not admission.apply_role(session, **who, given=given):
            sessions.end_directory(session, **who)


def _opened(ports: Ports, tenant_id: UUID, sealed: str | None) -> str:
    return "" if sealed is None else ports.secrets.open(sealed, context=str(tenant_id))
