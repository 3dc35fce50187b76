"""Secrets at rest: a small interface, and Fernet behind it."""

import json
from collections.abc import Sequence
from typing import Protocol

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from app.core.errors import Unavailable


class SecretUnreadable(Unavailable):
    """The secret was sealed with a key this process lacks, or for another context.

    Tell the operator: SECRETS_KEYS has to hold the key that sealed it.
    """

    code = "secret_unreadable"


class SecretBox(Protocol):
    """Seals secrets for one context (a tenant's id): another context cannot open them."""

    def seal(self, secret: str, *, context: str) -> str: ...

    def open(self, sealed: str, *, context: str) -> str: ...


class FernetBox:
    """`SecretBox` over Fernet; the first key seals, all keys open, so keys can be rotated."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._fernet = MultiFernet([Fernet(key) for key in keys])

    def seal(self, secret: str, *, context: str) -> str:
        # Fernet authenticates no associated data: the context travels inside.
        return self._fernet.encrypt(json.dumps([context, secret]).encode()).decode()

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
