"""Access tokens: JWTs (RFC 7519) signed with asymmetric keys that are named by ``kid``.

Flask-JWT-Extended signs and verifies; what it leaves open (type, expiry, session) is checked here.
"""

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Protocol
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from flask import Flask, current_app, g
from flask_jwt_extended import JWTManager, create_access_token, decode_token
from flask_jwt_extended.exceptions import JWTExtendedException
from jwt import get_unverified_header
from jwt.algorithms import RSAAlgorithm
from jwt.exceptions import InvalidTokenError, PyJWTError

from app.core import clock
from app.core.errors import Unauthenticated
from app.settings import Settings

AUDIENCE: Final = "tenantry-api"
ALGORITHM: Final = "RS256"  # each request verifies: RS256 does so three times faster than ES256
_REQUIRED: Final = frozenset({"type", "exp", "sub", "sid"})
_REMEMBERED_TOKENS: Final = 4096


@dataclass(frozen=True, slots=True)
class SigningKey:
    kid: str
    private_key: RSAPrivateKey


class KeyRing(Protocol):
    """What the identity domain supplies."""

    def signing_key(self) -> SigningKey: ...

    def public_key(self, kid: str) -> RSAPublicKey | None:
        """The key that a token names, or None where it is none of ours."""
        ...

    def public_keys(self) -> dict[str, RSAPublicKey]: ...


@dataclass(frozen=True, slots=True)
class AccessClaims:
    user_id: UUID
    session_id: UUID


@dataclass(frozen=True, slots=True)
class _Verified:
    claims: AccessClaims
    expires_at: int
    kid: str
    key: RSAPublicKey


class VerifiedTokens:
    """Tokens that were verified a moment ago: parsing one again costs more than all that follows.

    An entry says that the signature and the claims were good. It ends with the token's time, and
    with its key; whether the session lives and what its user may do is never in it. Tokens are
    kept as digests, the least recently used one goes first.
    """

    def __init__(self, keys: KeyRing, *, size: int = _REMEMBERED_TOKENS) -> None:
        self._keys = keys
        self._size = size
        self._lock = threading.Lock()
        self._entries: OrderedDict[bytes, _Verified] = OrderedDict()

    def recall(self, token: str) -> AccessClaims | None:
        digest = _digest(token)
        with self._lock:
            entry = self._entries.get(digest)
            if entry is None:
                return None
            self._entries.move_to_end(digest)
        if clock.now().timestamp() < entry.expires_at and self._is_alive(entry):
            return entry.claims
        with self._lock:
            self._entries.pop(digest, None)
        return None

    def remember(self, token: str, claims: AccessClaims, *, expires_at: int, kid: str) -> None:
        """Called with what has just been verified."""
        key = self._keys.public_key(kid)
        if key is None:  # withdrawn in this very moment
            return
        with self._lock:
            self._entries[_digest(token)] = _Verified(claims, expires_at, kid, key)
            if len(self._entries) > self._size:
                self._entries.popitem(last=False)

    def _is_alive(self, entry: _Verified) -> bool:
        # The ring reads its keys anew from time to time: the same key may be another object.
        return self._keys.public_key(entry.kid) == entry.key


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def init_app(app: Flask, settings: Settings, keys: KeyRing) -> None:
    app.config.update(
        JWT_ALGORITHM=ALGORITHM,
        JWT_DECODE_ALGORITHMS=[ALGORITHM],
        JWT_ENCODE_ISSUER=settings.public_url,
        JWT_DECODE_ISSUER=settings.public_url,
        JWT_ENCODE_AUDIENCE=AUDIENCE,
        JWT_DECODE_AUDIENCE=AUDIENCE,
        JWT_ACCESS_TOKEN_EXPIRES=timedelta(seconds=settings.access_token_seconds),
    )
    manager = JWTManager(app)
    manager.encode_key_loader(lambda _identity: g.signing_key.private_key)

    @manager.decode_key_loader
    def _key_of(header: dict[str, Any], claims: dict[str, Any]) -> RSAPublicKey:
        if not claims.keys() >= _REQUIRED:  # the library takes a missing type for "access"
            raise InvalidTokenError("a claim is missing")
        kid = header.get("kid")
        key = keys.public_key(kid) if isinstance(kid, str) else None
        if key is None:  # any other exception would become a 500
            raise InvalidTokenError("unknown key")
        return key

    app.extensions["keys"] = keys
    app.extensions["verified_tokens"] = VerifiedTokens(keys)


def current_keys() -> KeyRing:
    keys: KeyRing = current_app.extensions["keys"]
    return keys


def issue(*, user_id: UUID, session_id: UUID) -> str:
    # Asked once: between two questions the key ring may go over to the next key.
    g.signing_key = current_keys().signing_key()
    token: str = create_access_token(
        identity=str(user_id),
        additional_claims={"sid": str(session_id)},
        additional_headers={"kid": g.signing_key.kid},
    )
    return token


def public_jwk(key: RSAPublicKey) -> dict[str, str]:
    """The key's own members of a JWK (RFC 7518, section 6.3.1)."""
    members = RSAAlgorithm.to_jwk(key, as_dict=True)
    return {name: members[name] for name in ("kty", "n", "e")}


def verify(authorization: str | None) -> AccessClaims:
    """The claims behind an Authorization header of the Bearer scheme (RFC 6750).

    Raises:
        Unauthenticated: there is none, or any part of it is not as we issue it.
    """
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated("Sign in and send Authorization: Bearer <access_token>.")
    verified: VerifiedTokens = current_app.extensions["verified_tokens"]
    return verified.recall(token) or _verify(token, verified)


def _verify(token: str, verified: VerifiedTokens) -> AccessClaims:
    try:
        decoded = decode_token(token)
        if decoded["type"] != "access":
            raise InvalidTokenError("not an access token")
        claims = AccessClaims(UUID(decoded["sub"]), UUID(decoded["sid"]))
        expires_at, kid = int(decoded["exp"]), get_unverified_header(token)["kid"]
    except (
        PyJWTError,
        JWTExtendedException,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
    ) as error:
        raise Unauthenticated("The access token is not valid, or has expired.") from error
    verified.remember(token, claims, expires_at=expires_at, kid=kid)
    return claims
