"""From somebody who was admitted to a session: a new one, or one more authentication of one.

Tokens are in no address: a page gets a code behind #, which is good once, for a minute, and for
whoever holds the verifier that the sign-in began with (RFC 7636, S256).
"""

import hashlib
import re
from base64 import urlsafe_b64encode
from hmac import compare_digest
from typing import Final
from uuid import UUID

from app.core.db import MainSession
from app.domains.identity.service import sessions, users
from app.domains.identity.service.sessions import Opened
from app.domains.sso.errors import CodeInvalid
from app.domains.sso.service import Ports
from app.domains.sso.service.admission import PROVIDER, Admitted

_CODE_SECONDS: Final = 60
_VERIFIER: Final = re.compile(r"[A-Za-z0-9._~-]{43,128}\Z")


def hand_out(ports: Ports, admitted: Admitted, *, code_challenge: str | None) -> str:
    """A code for the session that is to be opened."""
    content = {
        "user": str(admitted.user_id),
        "tenant": str(admitted.tenant_id),
        "challenge": code_challenge,
    }
    return ports.parcels.keep("code", content, seconds=_CODE_SECONDS)


def redeem(ports: Ports, *, code: str, code_verifier: str) -> Admitted:
    """Who the code was handed out for.

    Raises:
        CodeInvalid: nobody; or the verifier is not the one of the challenge.
    """
    parcel = ports.parcels.take("code", code)
    digest = hashlib.sha256(code_verifier.encode()).digest()
    challenge = urlsafe_b64encode(digest).rstrip(b"=").decode()
    if (
        parcel is None
        or not _VERIFIER.match(code_verifier)
        or not compare_digest(challenge, parcel["challenge"] or "")
    ):
        raise CodeInvalid("This code is not good, or not any more; sign in once more.")
    return Admitted(user_id=UUID(parcel["user"]), tenant_id=UUID(parcel["tenant"]))


def open_session(
    session: MainSession,
    ports: Ports,
    admitted: Admitted,
    *,
    address: str | None,
    user_agent: str | None,
) -> Opened:
    """A new session that the tenant's directory authenticated."""
    return sessions.open_session(
        session,
        ports.settings,
        user=users.get_user(session, admitted.user_id),
        method=PROVIDER,
        address=address,
        user_agent=user_agent,
        tenant_id=admitted.tenant_id,
    )


def extend_session(session: MainSession, admitted: Admitted, *, session_id: UUID) -> Opened:
    """The person's own session, authenticated by the tenant's directory as well.

    Raises:
        SessionNotFound: it is another person's, or over.
    """
    return sessions.add_directory(
        session,
        user_id=admitted.user_id,
        session_id=session_id,
        tenant_id=admitted.tenant_id,
    )
