"""Ways to make an access token that is not one."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import RSAAlgorithm

from app.core import clock
from app.core.tokens import AUDIENCE, SigningKey
from tests.cast import Person

MISSING: Final = object()
FOREIGN_KEY: Final = rsa.generate_private_key(public_exponent=65537, key_size=2048)
_EC_KEY: Final = ec.generate_private_key(ec.SECP256R1())


def encode(part: object) -> str:
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def later(**span: float) -> int:
    return int((clock.now() + timedelta(**span)).timestamp())


@dataclass(frozen=True)
class Forge:
    """Holds even the real key: whatever it changes must be enough to be refused."""

    key: SigningKey
    issuer: str
    alice: Person
    mallory: Person

    @property
    def genuine(self) -> str:
        return str(self.alice.tokens["access_token"])

    @property
    def public_pem(self) -> bytes:
        return self.key.private_key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def claims(self, **changes: object) -> dict[str, Any]:
        session = jwt.decode(self.genuine, options={"verify_signature": False})["sid"]
        claims = {
            "iss": self.issuer,
            "aud": AUDIENCE,
            "sub": str(self.alice.user_id),
            "sid": session,
            "type": "access",
            "jti": str(uuid4()),
            "iat": later(),
            "nbf": later(),
            "exp": later(minutes=5),
        } | changes
        return {name: value for name, value in claims.items() if value is not MISSING}

    def header(self, **changes: object) -> dict[str, Any]:
        header: dict[str, object] = {"typ": "JWT", "alg": "RS256", "kid": self.key.kid}
        header |= changes
        return {name: value for name, value in header.items() if value is not MISSING}

    def sign(self, header: object, claims: object) -> str:
        """RS256 with the real key over whatever is given, whatever the header says."""
        signed = f"{encode(header)}.{encode(claims)}"
        algorithm = RSAAlgorithm(RSAAlgorithm.SHA256)
        return f"{signed}.{encode(algorithm.sign(signed.encode(), self.key.private_key))}"

    def with_claims(self, **changes: object) -> str:
        return self.sign(self.header(), self.claims(**changes))

    def with_header(self, **changes: object) -> str:
        return self.sign(self.header(**changes), self.claims())

    def hmac(self, secret: bytes, **changes: object) -> str:
        signed = f"{encode(self.header(alg='HS256', **changes))}.{encode(self.claims())}"
        return f"{signed}.{encode(hmac.digest(secret, signed.encode(), hashlib.sha256))}"

    def by(self, algorithm: str, key: Any, **headers: object) -> str:
        return jwt.encode(
            self.claims(), key, algorithm=algorithm, headers={"kid": self.key.kid, **headers}
        )

    def own_jwk(self) -> dict[str, Any]:
        return RSAAlgorithm.to_jwk(FOREIGN_KEY.public_key(), as_dict=True)

    def segments(self) -> list[str]:
        return self.genuine.split(".")


def _tampered(forge: Forge) -> str:
    header, _, signature = forge.segments()
    return f"{header}.{encode(forge.claims(sub=str(forge.mallory.user_id)))}.{signature}"


def _flipped(forge: Forge) -> str:
    head, signature = forge.genuine[:-20], forge.genuine[-20:]
    return head + signature[::-1]


def _of_mallorys_session(forge: Forge) -> str:
    hers = jwt.decode(forge.mallory.tokens["access_token"], options={"verify_signature": False})
    return forge.with_claims(sid=hers["sid"])


Make = Callable[[Forge], str]

SIGNATURES: Final[dict[str, Make]] = {
    "alg none": lambda f: f"{encode(f.header(alg='none'))}.{encode(f.claims())}.",
    "alg None": lambda f: f"{encode(f.header(alg='None'))}.{encode(f.claims())}.",
    "alg none, signed": lambda f: f.with_header(alg="none"),
    "alg missing": lambda f: f.with_header(alg=MISSING),
    "alg empty": lambda f: f.with_header(alg=""),
    "alg a list": lambda f: f.with_header(alg=["RS256"]),
    "alg a number": lambda f: f.with_header(alg=256),
    "alg in lower case": lambda f: f.with_header(alg="rs256"),
    "HS256 with the public key": lambda f: f.hmac(f.public_pem),
    "HS256 with the public key, stripped": lambda f: f.hmac(f.public_pem.strip()),
    "HS256 with the JWK": lambda f: f.hmac(
        json.dumps(RSAAlgorithm.to_jwk(f.key.private_key.public_key(), as_dict=True)).encode()
    ),
    "HS256 with nothing": lambda f: f.hmac(b""),
    "HS256 without kid": lambda f: f.hmac(f.public_pem, kid=MISSING),
    "RS512": lambda f: f.by("RS512", f.key.private_key),
    "PS256": lambda f: f.by("PS256", f.key.private_key),
    "ES256": lambda f: f.by("ES256", _EC_KEY),
    "ES256 that says RS256": lambda f: f.by("ES256", _EC_KEY).replace(
        f.by("ES256", _EC_KEY).split(".")[0], encode(f.header())
    ),
    "another key": lambda f: f.by("RS256", FOREIGN_KEY),
    "another key, brought as jwk": lambda f: f.by("RS256", FOREIGN_KEY, jwk=f.own_jwk()),
    "another key, at jku": lambda f: f.by("RS256", FOREIGN_KEY, jku="https://evil.example/jwks"),
    "another key, in x5c": lambda f: f.by("RS256", FOREIGN_KEY, x5c=["MIIB"]),
    "another key, at x5u": lambda f: f.by("RS256", FOREIGN_KEY, x5u="https://evil.example/x5u"),
    "signature flipped": _flipped,
    "signature removed": lambda f: ".".join(f.segments()[:2]) + ".",
    "signature in standard base64": lambda f: f.genuine + "+/",
    "payload tampered": _tampered,
}

HEADERS: Final[dict[str, Make]] = {
    "kid missing": lambda f: f.with_header(kid=MISSING),
    "kid unknown": lambda f: f.with_header(kid="00000000"),
    "kid empty": lambda f: f.with_header(kid=""),
    "kid null": lambda f: f.with_header(kid=None),
    "kid a number": lambda f: f.with_header(kid=7),
    "kid a list": lambda f: f.with_header(kid=[f.key.kid]),
    "kid an object": lambda f: f.with_header(kid={"kid": f.key.kid}),
    "kid a path": lambda f: f.with_header(kid="../../../dev/null"),
    "kid SQL": lambda f: f.with_header(kid="' OR true --"),
    "kid with NUL": lambda f: f.with_header(kid=f.key.kid + "\x00"),
    "kid with a surrogate": lambda f: f.with_header(kid="\ud800"),
    "crit unknown": lambda f: f.with_header(crit=["exp"], exp=1),
    "crit no list": lambda f: f.with_header(crit="b64"),
    "b64 false": lambda f: f.with_header(crit=["b64"], b64=False),
    "header a list": lambda f: f.sign([f.header()], f.claims()),
    "header a number": lambda f: f.sign(1, f.claims()),
    "header no JSON": lambda f: f.sign(b"{", f.claims()),
    "header no text": lambda f: f.sign(b"\xff\xfe", f.claims()),
    "header nested": lambda f: f.sign(b"[" * 4000, f.claims()),
    "header object nested": lambda f: f.sign(b'{"a":' * 4000, f.claims()),
}

CLAIMS: Final[dict[str, Make]] = {
    "issuer other": lambda f: f.with_claims(iss="https://evil.example"),
    "issuer longer": lambda f: f.with_claims(iss=f.issuer + "/"),
    "issuer missing": lambda f: f.with_claims(iss=MISSING),
    "issuer a list": lambda f: f.with_claims(iss=[f.issuer]),
    "audience other": lambda f: f.with_claims(aud="another-api"),
    "audience missing": lambda f: f.with_claims(aud=MISSING),
    "audience empty": lambda f: f.with_claims(aud=[]),
    "audience a number": lambda f: f.with_claims(aud=7),
    "type refresh": lambda f: f.with_claims(type="refresh"),
    "type id": lambda f: f.with_claims(type="id"),
    "type missing": lambda f: f.with_claims(type=MISSING),
    "type null": lambda f: f.with_claims(type=None),
    "type a list": lambda f: f.with_claims(type=["access"]),
    "exp missing": lambda f: f.with_claims(exp=MISSING),
    "exp null": lambda f: f.with_claims(exp=None),
    "exp past": lambda f: f.with_claims(exp=later(seconds=-1)),
    "exp text": lambda f: f.with_claims(exp="never"),
    "exp infinite": lambda f: f.with_claims(exp=float("inf")),
    "exp not a number": lambda f: f.with_claims(exp=float("nan")),
    "exp a list": lambda f: f.with_claims(exp=[later(minutes=5)]),
    "nbf in the future": lambda f: f.with_claims(nbf=later(minutes=5)),
    "nbf infinite": lambda f: f.with_claims(nbf=float("inf")),
    "iat in the future": lambda f: f.with_claims(iat=later(minutes=5)),
    "sub missing": lambda f: f.with_claims(sub=MISSING),
    "sub null": lambda f: f.with_claims(sub=None),
    "sub a number": lambda f: f.with_claims(sub=7),
    "sub no UUID": lambda f: f.with_claims(sub="alice"),
    "sub another user": lambda f: f.with_claims(sub=str(f.mallory.user_id)),
    "sub nobody": lambda f: f.with_claims(sub=str(uuid4())),
    "sid missing": lambda f: f.with_claims(sid=MISSING),
    "sid null": lambda f: f.with_claims(sid=None),
    "sid a number": lambda f: f.with_claims(sid=7),
    "sid a list": lambda f: f.with_claims(sid=[str(uuid4())]),
    "sid no UUID": lambda f: f.with_claims(sid="' OR true --"),
    "sid nobody's": lambda f: f.with_claims(sid=str(uuid4())),
    "sid of another user": _of_mallorys_session,
    "payload a list": lambda f: f.sign(f.header(), [f.claims()]),
    "payload text": lambda f: f.sign(f.header(), "access"),
    "payload no JSON": lambda f: f.sign(f.header(), b"\x00"),
    "payload nested": lambda f: f.sign(f.header(), b"[" * 4000),
    "payload a long number": lambda f: f.sign(f.header(), b'{"exp":' + b"9" * 5000 + b"}"),
}

# Whole Authorization headers.
ENVELOPES: Final[dict[str, Make]] = {
    "empty": lambda _: "",
    "Bearer alone": lambda _: "Bearer",
    "Bearer and a space": lambda _: "Bearer ",
    "no scheme": lambda f: f.genuine,
    "Basic": lambda f: f"Basic {f.genuine}",
    "Basic with a password": lambda _: "Basic " + base64.b64encode(b"alice:x").decode(),
    "Digest": lambda f: f'Digest username="alice", response="{f.genuine}"',
    "Token": lambda f: f"Token {f.genuine}",
    "two spaces": lambda f: f"Bearer  {f.genuine}",
    "a tab": lambda f: f"Bearer\t{f.genuine}",
    "a colon": lambda f: f"Bearer: {f.genuine}",
    "in quotes": lambda f: f'Bearer "{f.genuine}"',
    "twice": lambda f: f"Bearer {f.genuine}, Bearer {f.genuine}",
    "with parameters": lambda f: f"Bearer {f.genuine}; realm=x",
    "not ASCII": lambda _: "Bearer ÿþÿ.ÿ.ÿ",
    "not ASCII behind": lambda f: f"Bearer {f.genuine}ÿ",
    "huge": lambda _: "Bearer " + "A" * 100_000,
    "huge, in three parts": lambda _: "Bearer " + ".".join(["QUFB" * 20_000] * 3),
    "only dots": lambda _: "Bearer ..",
    "hundreds of dots": lambda _: "Bearer " + "." * 500,
    "truncated": lambda f: f"Bearer {f.genuine[:-10]}",
    "half": lambda f: f"Bearer {f.genuine[: len(f.genuine) // 2]}",
    "two parts": lambda f: "Bearer " + ".".join(f.segments()[:2]),
    "four parts": lambda f: f"Bearer {f.genuine}.AAAA",
    "five parts, as a JWE": lambda f: (
        "Bearer "
        + ".".join(
            [encode({"alg": "dir", "enc": "A256GCM", "kid": f.key.kid}), "", "AA", "AA", "AA"]
        )
    ),
    "JSON serialisation": lambda f: "Bearer " + json.dumps({"payload": f.segments()[1]}),
    "refresh token": lambda f: f"Bearer {f.alice.tokens['refresh_token']}",
    "null": lambda _: "Bearer null",
}


def _bearer(make: Make) -> Make:
    return lambda forge: f"Bearer {make(forge)}"


FORGERIES: Final[dict[str, Make]] = {
    f"{kind}: {name}": _bearer(make)
    for kind, table in (("signature", SIGNATURES), ("header", HEADERS), ("claims", CLAIMS))
    for name, make in table.items()
} | {f"envelope: {name}": make for name, make in ENVELOPES.items()}
