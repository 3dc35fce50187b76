"""The key pairs that sign access tokens, kept in the main database with the private part sealed."""

import logging
import threading
import time
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    RSAPublicKey,
    generate_private_key,
)

from app.core import ids
from app.core.db import MainSession, main_session
from app.core.errors import Unavailable
from app.core.secrets import SecretBox
from app.core.tokens import SigningKey
from app.domains.identity import queries
from app.domains.identity.models import SIGNING_KEY_CONTEXT, SigningKeyRow
from app.settings import Settings

logger = logging.getLogger(__name__)


class NoSigningKey(Unavailable):
    """The installation was not initialised: scripts/init_db.py makes the first key."""

    code = "no_signing_key"


def ensure_signing_key(session: MainSession, secrets: SecretBox) -> bool:
    """Makes the first key where there is none; True if it did."""
    if any(row.state == "active" for row in queries.signing_keys_for_change(session)):
        return False
    session.add(new_key(secrets, state="active"))
    return True


def new_key(secrets: SecretBox, *, state: str) -> SigningKeyRow:
    private = generate_private_key(public_exponent=65537, key_size=2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return SigningKeyRow(
        kid=ids.new_id().hex,
        state=state,
        public_key=public.decode(),
        sealed_private_key=secrets.seal(pem.decode(), context=SIGNING_KEY_CONTEXT),
    )


class DatabaseKeyRing:
    """The keys as of at most SIGNING_KEY_REFRESH_SECONDS ago.

    An unknown ``kid`` makes it look again, but at most once a second, so that forged ones cannot
    make it ask the database for each request.
    """

    at_most_every: Final = 1.0

    def __init__(self, secrets: SecretBox, settings: Settings) -> None:
        self._secrets = secrets
        self._fresh_for = settings.signing_key_refresh_seconds
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._public: dict[str, RSAPublicKey] = {}
        self._active: SigningKey | None = None

    def signing_key(self) -> SigningKey:
        self._read(if_older_than=self._fresh_for if self._active else self.at_most_every)
        if self._active is None:
            raise NoSigningKey("There is no signing key yet.")
        return self._active

    def public_key(self, kid: str) -> RSAPublicKey | None:
        self._read(if_older_than=self._fresh_for)
        if kid not in self._public:
            self._read(if_older_than=self.at_most_every)
        return self._public.get(kid)

    def public_keys(self) -> dict[str, RSAPublicKey]:
        self._read(if_older_than=self._fresh_for)
        return dict(self._public)

    def _read(self, *, if_older_than: float) -> None:
        if time.monotonic() - self._read_at <= if_older_than:
            return
        with self._lock:
            if time.monotonic() - self._read_at <= if_older_than:
                return
            with main_session() as session:
                rows = queries.signing_keys(session)
            self._public = {row.kid: _public(row) for row in rows}
            active = next((row for row in rows if row.state == "active"), None)
            self._active = None if active is None else self._signing(active)
            self._read_at = time.monotonic()

    def _signing(self, row: SigningKeyRow) -> SigningKey:
        """A key is opened once; while that cannot be done, the one before signs on."""
        held = self._active
        if held is not None and held.kid == row.kid:
            return held
        try:
            return SigningKey(row.kid, self._open(row))
        except Unavailable:
            if held is None or held.kid not in self._public:
                raise
            logger.warning("the new signing key cannot be opened; the one before signs on")
            return held

    def _open(self, row: SigningKeyRow) -> RSAPrivateKey:
        pem = self._secrets.open(row.sealed_private_key, context=SIGNING_KEY_CONTEXT).encode()
        key = serialization.load_pem_private_key(pem, password=None)
        if not isinstance(key, RSAPrivateKey):
            raise TypeError("a signing key is not an RSA key")
        return key


def _public(row: SigningKeyRow) -> RSAPublicKey:
    key = serialization.load_pem_public_key(row.public_key.encode())
    if not isinstance(key, RSAPublicKey):
        raise TypeError("a signing key is not an RSA key")
    return key
