"""ID tokens of Entra ID, validated in full (OpenID Connect Core 1.0, section 3.1.3.7).

MSAL validates nothing in them but the nonce: that is its users' part, and done here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hmac import compare_digest
from typing import Any, Final
from uuid import UUID

import jwt
from jwt.algorithms import RSAAlgorithm
from jwt.exceptions import PyJWTError

_ALGORITHM: Final = "RS256"
_LEEWAY_SECONDS: Final = 60
_REQUIRED: Final = ["iss", "aud", "sub", "tid", "oid", "exp", "nbf", "iat", "nonce", "ver"]
_VERSION: Final = "2.0"
_SMALLEST_KEY: Final = 2048


class InvalidIdToken(Exception):
    """``reason`` is one word for logs and the audit trail."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class UnknownKey(InvalidIdToken):
    """None of the keys that are known signed it: there may be newer ones."""

    def __init__(self) -> None:
        super().__init__("unknown_key")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """Whose token it has to be, for whom, and the answer to which question."""

    issuer: str
    audience: UUID
    directory_id: UUID
    nonce: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """Who signed in: a person is (directory, object). An address only proposes an account."""

    directory_id: UUID
    object_id: UUID
    email: str | None
    name: str


def validate(token: object, keys: Sequence[Mapping[str, Any]], expected: Expected) -> Claims:
    """What the token says, if every part of it is as it has to be.

    Raises:
        UnknownKey: none of the keys has its ``kid``.
        InvalidIdToken: with the first fault.
    """
    if not isinstance(token, str):
        raise InvalidIdToken("no_id_token")
    claims = _verified(token, _key_of(token, keys, expected.issuer), expected)
    if claims["ver"] != _VERSION:
        raise InvalidIdToken("wrong_version")
    if claims["aud"] != str(expected.audience):  # one string: a list would have further readers
        raise InvalidIdToken("wrong_audience")
    directory_id, object_id = _uuid(claims, "tid"), _uuid(claims, "oid")
    if directory_id != expected.directory_id:
        raise InvalidIdToken("wrong_directory")
    nonce = claims["nonce"]
    if not isinstance(nonce, str) or not compare_digest(nonce.encode(), expected.nonce.encode()):
        raise InvalidIdToken("wrong_nonce")
    email = _text(claims, "email") or _text(claims, "preferred_username")
    return Claims(
        directory_id=directory_id,
        object_id=object_id,
        email=email.lower() if email and "@" in email else None,
        name=_text(claims, "name") or email or str(object_id),
    )


def _verified(token: str, key: Any, expected: Expected) -> dict[str, Any]:
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[_ALGORITHM],
            issuer=expected.issuer,
            audience=str(expected.audience),
            leeway=_LEEWAY_SECONDS,
            options={"require": _REQUIRED},
        )
    except PyJWTError as error:
        raise InvalidIdToken(_reason(error)) from error
    return claims


def _reason(error: PyJWTError) -> str:
    """The class's name as reasons are spelt: ``ExpiredSignatureError`` is expired_signature."""
    name = type(error).__name__.removesuffix("Error")
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)[1:]


def _key_of(token: str, keys: Sequence[Mapping[str, Any]], issuer: str) -> Any:
    try:
        header = jwt.get_unverified_header(token)
    except PyJWTError as error:
        raise InvalidIdToken("no_jwt") from error
    if header.get("alg") != _ALGORITHM:
        raise InvalidIdToken("wrong_algorithm")
    kid = header.get("kid")
    found = [key for key in keys if kid is not None and key.get("kid") == kid]
    if not found:
        raise UnknownKey
    return _public_key(found[0], issuer)


def _public_key(jwk: Mapping[str, Any], issuer: str) -> Any:
    """An RSA key for signatures; one that names an issuer (Entra's do) is that one's alone."""
    signs = jwk.get("kty") == "RSA" and jwk.get("use", "sig") == "sig"
    if not signs or jwk.get("alg", _ALGORITHM) != _ALGORITHM or "d" in jwk:
        raise InvalidIdToken("unusable_key")
    if jwk.get("issuer", issuer) != issuer:
        raise InvalidIdToken("key_of_another_issuer")
    try:
        key = RSAAlgorithm.from_jwk(dict(jwk))
    except (PyJWTError, ValueError, TypeError, KeyError) as error:
        raise InvalidIdToken("unusable_key") from error
    if key.key_size < _SMALLEST_KEY:
        raise InvalidIdToken("weak_key")
    return key


def _uuid(claims: Mapping[str, Any], name: str) -> UUID:
    try:
        return UUID(claims[name])
    except (ValueError, TypeError, AttributeError):
        raise InvalidIdToken(f"bad_{name}") from None


def _text(claims: Mapping[str, Any], name: str) -> str | None:
    """A text that PostgreSQL and a mail could hold."""
    value = claims.get(name)
    usable = isinstance(value, str) and value.strip() and value.isprintable()
    return str(value).strip()[:200] if usable else None
