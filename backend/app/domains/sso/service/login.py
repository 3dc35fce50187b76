"""Signing in with a tenant's directory: the way there, and the way back.

Tenant, directory and browser are pinned at the start, in a parcel that is handed out once; what
comes back has to agree with all three, and the ID token with the parcel.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hmac import compare_digest
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

from app.core import ids
from app.core.db import main_session
from app.domains.sso import queries
from app.domains.sso.errors import (
    DirectoryRefused,
    NotAvailable,
    ReturnRefused,
    StateInvalid,
    TokenRefused,
)
from app.domains.sso.models import TenantSSOConfig
from app.domains.sso.service import Ports, admission, configuration, refusals
from app.domains.sso.service.admission import Admitted, Proven
from app.domains.sso.service.advice import advice
from app.domains.tenants.service import sign_in
from app.integrations.entra import GrantRefused, Registration, refusal
from app.integrations.id_tokens import InvalidIdToken
from app.settings import Settings

_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{20,100}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Departure:
    """Where to send the browser, and the cookie that it has to come back with."""

    auth_uri: str
    cookie: str
    secret: str
    across_sites: bool
    seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """Who came back; where to send the browser, if it is not to be answered at once."""

    admitted: Admitted | None
    tested: Proven | None
    return_to: str | None
    code_challenge: str | None


@dataclass(frozen=True, slots=True)
class _Journey:
    """One sign-in: what was pinned at its start."""

    parcel: Mapping[str, Any]
    tenant_id: UUID
    registration: Registration

    @property
    def is_test(self) -> bool:
        return bool(self.parcel["test"])


def begin(
    ports: Ports,
    *,
    tenant_id: UUID,
    return_to: str | None = None,
    code_challenge: str | None = None,
    login_hint: str | None = None,
    test: str | None = None,
    step_up: str | None = None,
) -> Departure:
    """Sends a browser to the tenant's directory.

    Raises:
        NotAvailable: no such tenant, or not by a directory.
        ReturnRefused: ``return_to`` is no page of this product.
        DirectoryUnavailable: it is away.
    """
    _require_own(ports.settings, return_to)
    row = _for_login(ports, tenant_id, test=test)
    registration = configuration.registration(ports, row)
    state, secret = ids.new_token(), ids.new_token()
    seconds = ports.settings.sso_login_seconds
    try:
        flow = ports.entra.begin(
            registration,
            state=state,
            redirect_uri=configuration.redirect_uri(ports.settings),
            login_hint=login_hint,
            claims_challenge=_challenge(ports, step_up),
        )
    except GrantRefused as error:
        raise NotAvailable("This tenant's directory is not known; tell its owners.") from error
    auth_uri = flow.pop("auth_uri")
    ports.parcels.keep(
        "state",
        {
            "tenant": str(tenant_id),
            "config": str(row.id),
            "version": row.version,
            "browser": _digest(secret),
            "flow": flow,
            "return_to": return_to,
            "code_challenge": code_challenge,
            "test": test is not None,
        },
        seconds=seconds,
        token=state,
    )
    return Departure(
        auth_uri=auth_uri,
        cookie=cookie_of(state),
        secret=secret,
        across_sites=registration.response_mode == "form_post",
        seconds=seconds,
    )


def cookie_of(state: str) -> str:
    """Its name; __Host- keeps other hosts and paths from setting it (RFC 6265bis, 4.1.3.2)."""
    return f"__Host-sso-{_digest(state)[:16]}"


def finish(
    ports: Ports,
    *,
    answer: Mapping[str, str],
    cookie: Callable[[str], str | None],
    address: str | None,
) -> Arrival:
    """Whom the directory's answer proves, admitted; each refusal is told, and recorded.

    Raises:
        LoginRefused: it proves nobody, or nobody whom the tenant takes.
        DirectoryUnavailable: the directory is away; begin again later.
    """
    with refusals.told(address=address) as about:
        parcel = _taken(ports, answer.get("state", ""), cookie)
        about.tenant_id, about.return_to = UUID(parcel["tenant"]), parcel["return_to"]
        return _arrive(ports, _journey(ports, parcel), answer)


def _for_login(ports: Ports, tenant_id: UUID, *, test: str | None) -> TenantSSOConfig:
    ticket = None if test is None else ports.parcels.take("test", test)
    with main_session(tenant_id=tenant_id) as session:
        policy, row = sign_in.get(session, tenant_id), queries.config(session, tenant_id)
    if policy is not None and policy.open and row is not None:
        if ticket is not None:
            if ticket["tenant"] == str(tenant_id) and ticket["version"] == row.version:
                return row
        elif test is None and row.active and policy.takes_directory:
            return row
    raise NotAvailable("There is no such tenant, or its members sign in with their passwords.")


def _challenge(ports: Ports, step_up: str | None) -> str | None:
    """What the directory wanted shown; a sign-in without it would lead to the same refusal."""
    parcel = None if step_up is None else ports.parcels.take("step_up", step_up)
    return None if parcel is None else parcel["claims"]


def _taken(ports: Ports, state: str, cookie: Callable[[str], str | None]) -> dict[str, Any]:
    """The parcel of a sign-in that began in this browser."""
    parcel = ports.parcels.take("state", state) if _TOKEN.match(state) else None
    if parcel is None:
        raise StateInvalid(_BEGIN_AGAIN, reason="state_unknown")
    secret = cookie(cookie_of(state)) or ""
    if not compare_digest(_digest(secret), parcel["browser"]):
        raise StateInvalid(_BEGIN_AGAIN, reason="another_browser")
    return parcel


_BEGIN_AGAIN: Final = "This sign-in is over, or did not begin in this browser; begin again."


def _journey(ports: Ports, parcel: dict[str, Any]) -> _Journey:
    tenant_id = UUID(parcel["tenant"])
    with main_session(tenant_id=tenant_id) as session:
        policy, row = sign_in.get(session, tenant_id), queries.config(session, tenant_id)
    same = row is not None and (str(row.id), row.version) == (parcel["config"], parcel["version"])
    if row is None or not same:
        raise StateInvalid(_BEGIN_AGAIN, reason="config_changed")
    if policy is None or not (policy.open and (parcel["test"] or policy.takes_directory)):
        raise StateInvalid(_BEGIN_AGAIN, reason="not_available")
    return _Journey(parcel, tenant_id, configuration.registration(ports, row))


def _arrive(ports: Ports, journey: _Journey, answer: Mapping[str, str]) -> Arrival:
    proven = _prove(ports, journey, answer)
    parcel, admitted = journey.parcel, None
    if journey.is_test:
        with main_session(tenant_id=journey.tenant_id) as session:
            configuration.tested(
                session,
                tenant_id=journey.tenant_id,
                version=parcel["version"],
                object_id=proven.claims.object_id,
            )
    else:
        admitted = admission.admit(ports, proven)
    return Arrival(
        admitted=admitted,
        tested=proven if journey.is_test else None,
        return_to=parcel["return_to"],
        code_challenge=parcel["code_challenge"],
    )


def _prove(ports: Ports, journey: _Journey, answer: Mapping[str, str]) -> Proven:
    registration, flow = journey.registration, journey.parcel["flow"]
    issuer = answer.get("iss")  # RFC 9207: who it is that answers
    if issuer is not None and issuer != ports.entra.issuer(registration.directory_id):
        raise TokenRefused("Another directory answered than was asked.", reason="mixed_up_issuer")
    with _refusing(journey):
        if "error" in answer:
            raise refusal(answer)
        if not answer.get("code"):
            raise GrantRefused("no_code")
        tokens = ports.entra.redeem(registration, flow, answer)
        # MSAL sends the hash of the nonce that it keeps.
        nonce = hashlib.sha256(flow["nonce"].encode()).hexdigest()
        claims = ports.entra.validate(tokens.id_token, registration, nonce=nonce)
    return Proven(tenant_id=journey.tenant_id, claims=claims, tokens=tokens)


@contextmanager
def _refusing(journey: _Journey) -> Iterator[None]:
    """What a directory refuses, or does not prove, becomes an answer."""
    try:
        yield
    except GrantRefused as error:
        configuration.blame(journey.tenant_id, error)
        said = advice(error.error, error.aadsts)
        raise DirectoryRefused(
            f"The directory did not sign you in. {said}", reason=error.error, aadsts=error.aadsts
        ) from error
    except InvalidIdToken as error:
        raise TokenRefused(
            "What the directory sent does not prove who you are; begin again.", reason=error.reason
        ) from error


def _require_own(settings: Settings, return_to: str | None) -> None:
    """No browser is sent from here to a page of somebody else's, with a code in its address."""
    if return_to is None:
        return
    try:
        parts = urlsplit(return_to)
        origin = f"{parts.scheme}://{parts.netloc}"
    except ValueError:
        origin = ""
    plain = return_to.isascii() and return_to.isprintable() and not set(return_to) & set(' \\"<>#')
    if not plain or origin not in {settings.link_origin, *settings.cors_origins}:
        message = "After signing in, browsers are sent to pages of this product alone."
        raise ReturnRefused(message, errors={"return_to": [message]})


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
