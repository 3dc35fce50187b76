"""Stored secrets, sealed by Vault's transit engine: the key never leaves Vault."""

import base64
import logging
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import hvac
from flask import Flask

from app.core.errors import Unavailable
from app.core.secrets import VAULT_PREFIX, Boxes, FernetBox, Kind, SecretUnreadable
from app.settings import Settings
from app.settings.vault_client import VaultAway, VaultClient, VaultFault, VaultRejects

logger = logging.getLogger(__name__)
Answer = TypeVar("Answer")

_VERSION_KNOWN_SECONDS: Final = 60.0


class VaultUnavailable(Unavailable):
    """Vault is sealed or cannot be reached, and a secret is needed that this process does not hold.

    Repeat the request after the seconds in Retry-After.
    """

    code = "vault_unavailable"
    retry_after = 5


class VaultRefused(Unavailable):
    """Vault does not let this installation in, or does not allow it to use its key.

    Tell the operator; the log names what Vault refused.
    """

    code = "vault_refused"
    retry_after = 30


class TransitBox:
    """`SecretBox` over a derived key: each context has a key of its own, made by Vault of it."""

    name = "vault"

    def __init__(self, client: VaultClient, settings: Settings) -> None:
        self._client = client
        self._key = settings.vault_transit_key
        self._mount = settings.vault_transit_mount
        self._latest, self._asked_at = 0, float("-inf")

    def owns(self, sealed: str) -> bool:
        return sealed.startswith(VAULT_PREFIX)

    def seal(self, secret: str, *, context: str) -> str:
        """The ciphertext, which begins with `vault:` and the key's version.

        Raises:
            VaultUnavailable, VaultRefused: it could not be asked.
        """
        return str(
            self._ask(
                lambda vault: vault.secrets.transit.encrypt_data(
                    self._key,
                    plaintext=_base64(secret),
                    context=_base64(context),
                    mount_point=self._mount,
                )
            )["ciphertext"]
        )

    def open(self, sealed: str, *, context: str) -> str:
        """The secret.

        Raises:
            SecretUnreadable: wrong key, wrong context, or a changed ciphertext.
            VaultUnavailable, VaultRefused: it could not be asked.
        """
        told = self._ask(
            lambda vault: vault.secrets.transit.decrypt_data(
                self._key, ciphertext=sealed, context=_base64(context), mount_point=self._mount
            )
        )
        return base64.b64decode(told["plaintext"]).decode()

    def resealed(self, sealed: str, *, context: str) -> str | None:
        """By the key's newest version, within Vault: this process does not see the secret."""
        if _version(sealed) == self._latest_version():
            return None
        told = self._ask(
            lambda vault: vault.secrets.transit.rewrap_data(
                self._key, ciphertext=sealed, context=_base64(context), mount_point=self._mount
            )
        )
        return str(told["ciphertext"])

    def _latest_version(self) -> int:
        if time.monotonic() - self._asked_at > _VERSION_KNOWN_SECONDS:
            told = self._ask(
                lambda vault: vault.secrets.transit.read_key(self._key, mount_point=self._mount)
            )
            self._latest, self._asked_at = int(told["latest_version"]), time.monotonic()
        return self._latest

    def _ask(self, question: Callable[[hvac.Client], Any]) -> dict[str, Any]:
        try:
            return cast("dict[str, Any]", self._client.ask(question)["data"])
        except VaultAway as fault:
            logger.warning("vault is away", extra={"reason": str(fault)})
            raise VaultUnavailable("Secrets cannot be opened or sealed just now.") from fault
        except VaultRejects as fault:
            raise SecretUnreadable(
                "A stored secret cannot be read with the key in Vault."
            ) from fault
        except VaultFault as fault:
            logger.error("vault refuses", extra={"reason": str(fault)})  # noqa: TRY400
            raise VaultRefused("Secrets cannot be opened or sealed.") from fault


def init_app(app: Flask, settings: Settings) -> Boxes:
    """What seals and opens in this process: Vault where it is used, else SECRETS_KEYS."""
    kinds: list[Kind] = []
    app.extensions["vault"] = None
    if settings.use_vault:
        app.extensions["vault"] = VaultClient(settings)
        kinds.append(TransitBox(app.extensions["vault"], settings))
    if settings.secrets_keys:
        kinds.append(FernetBox([key.get_secret_value() for key in settings.secrets_keys]))
    return Boxes(kinds)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _version(sealed: str) -> int:
    """Of the key, as the ciphertext says: `vault:v3:…`."""
    version = sealed.removeprefix(VAULT_PREFIX).partition(":")[0].removeprefix("v")
    return int(version) if version.isdecimal() else 0
