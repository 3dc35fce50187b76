"""Signed checkpoints: with this hash a trail ended at this moment.

Whoever can write to a trail's database can compute its chain anew, or cut its end off. What he then
cannot make is a signature by a key that the database does not hold. Ed25519 (RFC 8032), as reports
have it: who verifies cannot have signed.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from app.domains.audit.models import Entry
from app.settings import Settings

PLATFORM: Final = "platform"


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """``trail`` is a tenant's id or "platform"; ``database`` is the one that it lies in."""

    installation: str
    trail: str
    database: str
    position: int
    hash: str
    sealed_at: str

    def signed_bytes(self) -> bytes:
        """One form for one content: JSON with sorted keys and no spaces."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """``key`` says which key has signed, by the beginning of its digest."""

    statement: Statement
    key: str
    signature: str

    def dumps(self) -> bytes:
        return json.dumps(asdict(self), sort_keys=True, indent=2).encode() + b"\n"

    @classmethod
    def loads(cls, raw: bytes) -> "Checkpoint":
        """Raises ValueError: it is none."""
        try:
            given: dict[str, Any] = json.loads(raw)
            statement = Statement(**given["statement"])
            return cls(statement=statement, key=given["key"], signature=given["signature"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"no checkpoint: {error}") from None


class Signer:
    """Holds the secret key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self._id = key_id(key.public_key())

    @classmethod
    def of(cls, settings: Settings) -> "Signer | None":
        """None where there is no key to sign with."""
        if settings.audit_signing_key is None:
            return None
        seed = base64.urlsafe_b64decode(settings.audit_signing_key.get_secret_value())
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    @property
    def public_key(self) -> str:
        return base64.urlsafe_b64encode(self._key.public_key().public_bytes_raw()).decode()

    def sign(self, statement: Statement) -> Checkpoint:
        signature = base64.urlsafe_b64encode(self._key.sign(statement.signed_bytes())).decode()
        return Checkpoint(statement=statement, key=self._id, signature=signature)


class Verifier:
    """Holds public keys: the present one and former ones."""

    def __init__(self, public_keys: Iterable[str]) -> None:
        known = [
            Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(key)) for key in public_keys
        ]
        self._keys: Mapping[str, Ed25519PublicKey] = {key_id(key): key for key in known}

    @classmethod
    def of(cls, settings: Settings, more: Iterable[str] = ()) -> "Verifier":
        """Knows the settings' keys and ``more``."""
        signer = Signer.of(settings)
        own = [] if signer is None else [signer.public_key]
        return cls([*own, *settings.audit_public_keys, *more])

    def __bool__(self) -> bool:
        return bool(self._keys)

    def knows(self, checkpoint: Checkpoint) -> bool:
        return checkpoint.key in self._keys

    def is_genuine(self, checkpoint: Checkpoint) -> bool:
        """Whether the holder of a key that is known here said exactly this."""
        key = self._keys.get(checkpoint.key)
        if key is None:
            return False
        try:
            signature = base64.urlsafe_b64decode(checkpoint.signature)
            key.verify(signature, checkpoint.statement.signed_bytes())
        except (InvalidSignature, ValueError):
            return False
        return True


def checkpoint_of(installation: str, entry: Entry) -> Checkpoint:
    """From an entry of a `TrailSealed`; nothing that it says is believed yet."""
    told = {name: entry.details.get(name) for name in ("database", "hash", "sealed_at")}
    position = entry.details.get("position")
    statement = Statement(
        installation=installation,
        trail=entry.target,
        position=position if isinstance(position, int) else 0,
        **{name: str(value) for name, value in told.items()},
    )
    signed = {name: str(entry.details.get(name)) for name in ("key", "signature")}
    return Checkpoint(statement=statement, **signed)


def key_id(key: Ed25519PublicKey) -> str:
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]
