"""Access tokens: JWTs (RFC 7519) signed with asymmetric keys that are named by ``kid``.

Flask-JWT-Extended signs and verifies; what it leaves open (type, expiry, session) is checked here.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Protocol
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from flask import Flask, current_app, g
from flask_jwt_extended import JWTManager, create_access_token, decode_token
from flask_jwt_extended.exceptions import JWTExtendedException
from jwt.algorithms import RSAAlgorithm
from jwt.exceptions import InvalidTokenError, PyJWTError

from app.core.errors import Unauthenticated
from app.settings import Settings

AUDIENCE: Final = "tenantry-api"
ALGORITHM: Final = "RS256"  # each request verifies: RS256 does so three times faster than ES256
_REQUIRED: Final = frozenset({"type", "exp", "sub", "sid"})


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
    try:
        claims = decode_token(token)
        if claims["type"] != "access":
            raise InvalidTokenError("not an access token")
        return AccessClaims(UUID(claims["sub"]), UUID(claims["sid"]))
    except (
        PyJWTError,
        JWTExtendedException,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
    ) as error:
        raise Unauthenticated("The access token is not valid, or has expired.") from error
