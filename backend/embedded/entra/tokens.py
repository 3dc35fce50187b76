"""ID tokens of the stand-in: right ones, and each way of being wrong that a directory knows."""

import json
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509 import load_pem_x509_certificate
from jwt.algorithms import RSAAlgorithm

from embedded.entra.refusals import Refusal

if TYPE_CHECKING:
    from embedded.entra.directory import Directory, DirectoryPerson

_LIFE = 3600
_MOST_GROUPS = 200


@dataclass(frozen=True)
class SigningKey:
    kid: str
    private_key: rsa.RSAPrivateKey

    def jwk(self) -> dict[str, Any]:
        members: dict[str, Any] = RSAAlgorithm.to_jwk(self.private_key.public_key(), as_dict=True)
        members.pop("key_ops", None)
        return members | {"kid": self.kid, "use": "sig"}


@cache
def _foreign_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def encoded(document: object) -> str:
    return urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


def claims(
    directory: "Directory", person: "DirectoryPerson", *, audience: str, nonce: str | None
) -> dict[str, Any]:
    """What Entra says in an ID token of version 2.0."""
    now = int(time.time())
    told: dict[str, Any] = {
        "ver": "2.0",
        "iss": directory.issuer,
        "sub": f"pairwise-{person.id}",
        "aud": audience,
        "exp": now + _LIFE,
        "iat": now,
        "nbf": now,
        "name": person.name,
        "preferred_username": person.email,
        "email": person.email,
        "oid": person.id,
        "tid": directory.id,
    }
    if nonce is not None:
        told["nonce"] = nonce
    if len(person.groups) <= _MOST_GROUPS:
        return told | {"groups": sorted(person.groups)}
    # More than a token may hold: a claim that points to an address which is gone by now.
    endpoint = f"https://graph.windows.net/{directory.id}/users/{person.id}/getMemberObjects"
    return told | {"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": endpoint}}


def id_token(directory: "Directory", told: dict[str, Any]) -> dict[str, Any]:
    """The member of the answer, as `misbehaviour` has it; none where that leaves it out."""
    forge = FORGERIES.get(directory.misbehaviour or "")
    forged = _signed(directory.key, told) if forge is None else forge(directory, told)
    return {} if forged is None else {"id_token": forged}


def check_assertion(assertion: str, certificate: str, *, client_id: str, audience: str) -> None:
    """That of an application with a certificate (RFC 7523).

    Raises:
        Refusal: it is not signed by the certificate's key, or not for us.
    """
    key: Any = load_pem_x509_certificate(certificate.encode()).public_key()
    try:
        jwt.decode(
            assertion, key, algorithms=["PS256"], audience=audience, issuer=client_id, leeway=60
        )
    except jwt.PyJWTError as error:
        raise Refusal("invalid_client", "700027", "The assertion is not valid.") from error


def _signed(key: SigningKey, told: dict[str, Any], **header: Any) -> str:
    return jwt.encode(told, key.private_key, "RS256", headers={"kid": key.kid} | header)


def _changed(**values: Any) -> Callable[["Directory", dict[str, Any]], str]:
    return lambda directory, told: _signed(directory.key, told | values)


def _without(name: str) -> Callable[["Directory", dict[str, Any]], str]:
    return lambda directory, told: _signed(
        directory.key, {key: value for key, value in told.items() if key != name}
    )


def _moved(name: str, seconds: int) -> Callable[["Directory", dict[str, Any]], str]:
    return lambda directory, told: _signed(directory.key, told | {name: told[name] + seconds})


def _bad_signature(directory: "Directory", told: dict[str, Any]) -> str:
    head, body, signature = _signed(directory.key, told).split(".")
    other = "B" if signature[0] == "A" else "A"
    return f"{head}.{body}.{other}{signature[1:]}"


def _hmac(directory: "Directory", told: dict[str, Any]) -> str:
    """Signed with the public key as if it were a shared secret."""
    secret = directory.key.jwk()["n"].encode()
    return jwt.encode(told, secret, "HS256", headers={"kid": directory.key.kid})


FORGERIES: dict[str, Callable[["Directory", dict[str, Any]], str | None]] = {
    "no_id_token": lambda _directory, _told: None,
    "no_jwt": lambda _directory, _told: "not.a.token",
    "two_parts": lambda _directory, told: f"{encoded({'alg': 'RS256'})}.{encoded(told)}",
    "bad_signature": _bad_signature,
    "foreign_key": lambda directory, told: _signed(
        SigningKey(directory.key.kid, _foreign_key()), told
    ),
    "unknown_kid": lambda directory, told: _signed(directory.key, told, kid="unknown"),
    "no_kid": lambda directory, told: jwt.encode(told, directory.key.private_key, "RS256"),
    "alg_none": lambda directory, told: jwt.encode(
        told, "", "none", headers={"kid": directory.key.kid}
    ),
    "alg_hs256": _hmac,
    "alg_rs512": lambda directory, told: jwt.encode(
        told, directory.key.private_key, "RS512", headers={"kid": directory.key.kid}
    ),
    "wrong_issuer": lambda directory, told: _signed(
        directory.key, told | {"iss": f"{directory.base}/{uuid.uuid4()}/v2.0"}
    ),
    "wrong_audience": lambda directory, told: _signed(
        directory.key, told | {"aud": str(uuid.uuid4())}
    ),
    "several_audiences": lambda directory, told: _signed(
        directory.key, told | {"aud": [told["aud"], str(uuid.uuid4())]}
    ),
    "wrong_tid": lambda directory, told: _signed(directory.key, told | {"tid": str(uuid.uuid4())}),
    "missing_tid": _without("tid"),
    "missing_oid": _without("oid"),
    "bad_oid": _changed(oid="nobody"),
    "wrong_nonce": _changed(nonce="0" * 64),
    "missing_nonce": _without("nonce"),
    "expired": _moved("exp", -2 * _LIFE),
    "missing_exp": _without("exp"),
    "not_yet_valid": _moved("nbf", _LIFE),
    "version_1": _changed(ver="1.0"),
}
