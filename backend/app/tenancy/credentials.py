"""A tenant role's login: a password, and the SCRAM keys that stand for it (RFC 5802).

The server gets only the verifier, never the password. libpq 18 logs in with the two keys and is
spared the 4,096 rounds of hashing at each connection.
"""

import base64
import hashlib
import hmac
import json
import secrets
from dataclasses import asdict, dataclass
from typing import Final, Self

import psycopg

_ITERATIONS: Final = 4096
_LIBPQ_WITH_SCRAM_KEYS: Final = 180_000


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """All fields are text; ``salt`` and the keys are base64. Keep sealed: each is a password."""

    password: str
    salt: str
    client_key: str
    server_key: str

    @classmethod
    def generate(cls) -> Self:
        return cls.of_password(secrets.token_urlsafe(32))

    @classmethod
    def of_password(cls, password: str) -> Self:
        """The keys of an ASCII password, with a new salt."""
        salt = secrets.token_bytes(16)
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _ITERATIONS)
        return cls(
            password=password,
            salt=_text(salt),
            client_key=_text(hmac.digest(salted, b"Client Key", "sha256")),
            server_key=_text(hmac.digest(salted, b"Server Key", "sha256")),
        )

    @classmethod
    def loads(cls, document: str) -> Self:
        return cls(**json.loads(document))

    def dumps(self) -> str:
        return json.dumps(asdict(self))

    @property
    def verifier(self) -> str:
        """What pg_authid stores, ready for CREATE ROLE … PASSWORD."""
        stored_key = _text(hashlib.sha256(base64.b64decode(self.client_key)).digest())
        return f"SCRAM-SHA-256${_ITERATIONS}:{self.salt}${stored_key}:{self.server_key}"

    def connect_arguments(self) -> dict[str, str]:
        """Parameters of libpq for this login."""
        if psycopg.pq.version() >= _LIBPQ_WITH_SCRAM_KEYS:
            return {"scram_client_key": self.client_key, "scram_server_key": self.server_key}
        return {"password": self.password}


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
