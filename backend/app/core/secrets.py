"""Secrets at rest: a small interface, Fernet behind it, and several kinds side by side."""

import base64
import json
from collections.abc import Sequence
from typing import Final, Protocol

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app.core.errors import Unavailable

# What Vault's transit engine seals begins so; no Fernet token does.
VAULT_PREFIX: Final = "vault:"
_KEY_BYTES: Final = 32


class SecretUnreadable(Unavailable):
    """The secret was sealed with a key this process lacks, or for another context.

    Tell the operator: SECRETS_KEYS, or the key in Vault, has to be the one that sealed it.
    """

    code = "secret_unreadable"


class SecretBox(Protocol):
    """Seals secrets for one context (a tenant's id): another context cannot open them."""

    def seal(self, secret: str, *, context: str) -> str: ...

    def open(self, sealed: str, *, context: str) -> str: ...

    def resealed(self, sealed: str, *, context: str) -> str | None:
        """The same secret as this box seals today; None where it is sealed so already."""
        ...


class Kind(SecretBox, Protocol):
    """One way to seal; what it sealed can be told from what others did."""

    @property
    def name(self) -> str: ...

    def owns(self, sealed: str) -> bool: ...


class FernetBox:
    """`SecretBox` over Fernet; the first key seals, all keys open, so keys can be rotated."""

    name = "fernet"

    def __init__(self, keys: Sequence[str]) -> None:
        self._first = Fernet(keys[0])
        self._fernet = MultiFernet([Fernet(key) for key in keys])

    def owns(self, sealed: str) -> bool:
        return not sealed.startswith(VAULT_PREFIX)

    def seal(self, secret: str, *, context: str) -> str:
        # Fernet authenticates no associated data: the context travels inside.
        return self._first.encrypt(json.dumps([context, secret]).encode()).decode()

    def open(self, sealed: str, *, context: str) -> str:
        """The secret.

        Raises:
            SecretUnreadable: wrong key, wrong context, or a changed ciphertext.
        """
        try:
            sealed_for, secret = json.loads(self._fernet.decrypt(sealed.encode()))
        except (InvalidToken, ValueError, TypeError) as error:
            raise SecretUnreadable("A stored secret cannot be read with SECRETS_KEYS.") from error
        if sealed_for != context:
            raise SecretUnreadable("A stored secret belongs to something else.")
        return str(secret)

    def resealed(self, sealed: str, *, context: str) -> str | None:
        try:
            self._first.decrypt(sealed.encode())
        except InvalidToken:
            return self.seal(self.open(sealed, context=context), context=context)
        return None


class Boxes:
    """`SecretBox` over several kinds: the first seals, each opens its own."""

    def __init__(self, kinds: Sequence[Kind]) -> None:
        self._kinds = kinds

    def sealing_by(self, name: str) -> "Boxes":
        """The same, with the kind of the name before the others.

        Raises:
            LookupError: it is not among them.
        """
        if name not in {kind.name for kind in self._kinds}:
            raise LookupError(name)
        return Boxes(sorted(self._kinds, key=lambda kind: kind.name != name))

    def seal(self, secret: str, *, context: str) -> str:
        return self._kinds[0].seal(secret, context=context)

    def open(self, sealed: str, *, context: str) -> str:
        """The secret.

        Raises:
            SecretUnreadable: as its own kind says, or none of the kinds here sealed it.
        """
        return self._owner(sealed).open(sealed, context=context)

    def resealed(self, sealed: str, *, context: str) -> str | None:
        owner = self._owner(sealed)
        if owner is self._kinds[0]:
            return owner.resealed(sealed, context=context)
        return self.seal(owner.open(sealed, context=context), context=context)

    def _owner(self, sealed: str) -> Kind:
        for kind in self._kinds:
            if kind.owns(sealed):
                return kind
        needed = "USE_VAULT" if sealed.startswith(VAULT_PREFIX) else "SECRETS_KEYS"
        raise SecretUnreadable(f"A stored secret cannot be read without {needed}.")


def derived_key(secret: str, purpose: str) -> str:
    """A Fernet key of a purpose of its own (HKDF, RFC 5869)."""
    raw = HKDF(SHA256(), _KEY_BYTES, None, purpose.encode()).derive(secret.encode())
    return base64.urlsafe_b64encode(raw).decode()
