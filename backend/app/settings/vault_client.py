"""Vault, signed in as an AppRole. It lies below all else, since settings come from there.

The client's own errors end here.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeVar, cast

import hvac
import requests
from hvac.exceptions import (
    Forbidden,
    InvalidPath,
    InvalidRequest,
    Unauthorized,
    VaultError,
)

from app.settings.bounded_http import BoundedAdapter
from app.settings.vault import Vault

logger = logging.getLogger(__name__)
Answer = TypeVar("Answer")

# A token is renewed when so much of its life is over, and given up for a new one when a renewal
# gives it less than so much of what it had at first: its longest life is near.
_RENEWED_AFTER: Final = 2 / 3
_WORTH_RENEWING: Final = 1 / 2
_SHORTEST_PAUSE: Final = 0.2
_PAUSE_AFTER_FAILURE: Final = 5.0
# After Vault was silent, whoever asks within this time is told at once.
_AWAY_SECONDS: Final = 1.0


class VaultFault(Exception):
    """Why Vault gave no answer, for people; it names no secret."""


class VaultAway(VaultFault):
    """It cannot be reached, is sealed, or is too busy."""


class VaultForbids(VaultFault):
    """It does not let this process in, or its role may not do this."""


class VaultLacks(VaultFault):
    """There is nothing at this path."""


class VaultRejects(VaultFault):
    """What was asked cannot be answered: another key, another context, a changed ciphertext."""


class VaultClient:
    """One process's way to Vault: it signs in when it is first asked, and stays signed in.

    A thread renews the token; where its longest life is near, or it was revoked, it signs in anew.
    """

    def __init__(self, settings: Vault) -> None:
        self._settings = settings
        self._start_anew()

    def _start_anew(self) -> None:
        self._lock = threading.Lock()
        self._vault: hvac.Client | None = None
        self._lease = 0.0
        self._closed = threading.Event()
        self._away_until, self._why = 0.0, ""

    def ask(self, question: Callable[[hvac.Client], Answer]) -> Answer:
        """What Vault says; a token that is good no more is replaced.

        Raises:
            VaultFault: in the form that says why.
        """
        vault = self._signed_in()
        with self._noting():
            try:
                return _understood(question(vault))
            except Forbidden:
                if _lives(vault):
                    raise
        vault = self._signed_in(instead_of=vault)
        with self._noting():
            return _understood(question(vault))

    def ping(self) -> None:
        """Returns when this process could use Vault now.

        Raises:
            VaultFault: it could not.
        """
        self.ask(lambda vault: vault.auth.token.lookup_self())

    def forget_connections(self) -> None:
        """For a forked child: connections, lock and thread are the parent's. It signs in itself."""
        self._start_anew()

    def close(self) -> None:
        """Gives the token back, where Vault takes it."""
        self._closed.set()
        with self._lock:
            vault, self._vault = self._vault, None
        if vault is not None:
            with suppress(VaultError, requests.RequestException):
                vault.auth.token.revoke_self()
            vault.adapter.close()

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Once Vault is away, whoever comes in the next moment need not find out by waiting."""
        if time.monotonic() < self._away_until:
            raise VaultAway(self._why)
        try:
            with told(self._settings.vault_addr):
                yield
        except VaultAway as error:
            self._away_until, self._why = time.monotonic() + _AWAY_SECONDS, str(error)
            raise

    # The token.

    def _signed_in(self, *, instead_of: hvac.Client | None = None) -> hvac.Client:
        """Of many who find no token, or a dead one, the first signs in."""
        with self._lock:
            if self._vault is None or self._vault is instead_of:
                with self._noting():
                    self._sign_in()
            return cast("hvac.Client", self._vault)

    def _sign_in(self) -> None:
        vault = connect(self._settings)
        try:
            granted = _understood(
                vault.auth.approle.login(
                    role_id=self._settings.vault_role_id,
                    secret_id=self._settings.vault_secret,
                    use_token=False,
                )
            )
        except OSError as error:
            vault.adapter.close()
            if isinstance(error, requests.RequestException):
                raise
            raise VaultForbids(f"VAULT_SECRET_ID_FILE cannot be read: {error.strerror}.") from error
        except InvalidRequest as error:
            vault.adapter.close()
            raise VaultForbids(
                f"Vault refuses VAULT_ROLE_ID with its secret: {_reason(error)}."
            ) from error
        vault.token = granted["auth"]["client_token"]
        first = self._vault is None
        self._vault, self._lease = vault, float(granted["auth"]["lease_duration"])
        if first:
            threading.Thread(
                target=self._keep_signed_in, args=(self._closed,), name="vault", daemon=True
            ).start()

    def _keep_signed_in(self, closed: threading.Event) -> None:
        pause = self._lease * _RENEWED_AFTER
        while not closed.wait(max(pause, _SHORTEST_PAUSE)):
            try:
                with told(self._settings.vault_addr):
                    pause = self._renew() * _RENEWED_AFTER
            except VaultFault as error:
                # Until the token ends, it is good; after that, whoever asks signs in.
                logger.warning("vault token not renewed", extra={"reason": str(error)})
                pause = min(self._lease * (1 - _RENEWED_AFTER) / 2, _PAUSE_AFTER_FAILURE)

    def _renew(self) -> float:
        """How long the token is good now."""
        vault = self._signed_in()
        try:
            granted = float(_understood(vault.auth.token.renew_self())["auth"]["lease_duration"])
        except (Forbidden, InvalidRequest):
            granted = 0.0
        if granted < self._lease * _WORTH_RENEWING:
            self._signed_in(instead_of=vault)
            return self._lease
        return granted


def connect(settings: Vault, *, token: str = "") -> hvac.Client:
    """A client that follows these settings alone, whatever the environment says to others."""
    session = requests.Session()
    session.trust_env = False
    verify: Any = str(settings.vault_ca_file) if settings.vault_ca_file else True
    session.verify = verify
    session.mount(settings.vault_addr, BoundedAdapter())
    return hvac.Client(
        settings.vault_addr,
        token=token,
        verify=verify,
        timeout=settings.vault_timeout,
        session=session,
    )


@contextmanager
def told(address: str) -> Iterator[None]:
    """Vault's faults in our words."""
    try:
        yield
    except (Forbidden, Unauthorized) as error:
        raise VaultForbids(f"Vault does not allow {_path(error)}.") from error
    except InvalidPath as error:
        raise VaultLacks(f"Vault has nothing at {_path(error)}.") from error
    except InvalidRequest as error:
        raise VaultRejects(f"Vault refuses {_path(error)}: {_reason(error)}.") from error
    except VaultError as error:
        raise VaultAway(f"Vault at {address} is away: {_reason(error)}.") from error
    except requests.RequestException as error:
        raise VaultAway(
            f"Vault at {address} cannot be reached ({type(error).__name__})."
        ) from error


def _understood(answer: Answer) -> Answer:
    """What hvac cannot read it hands over as it came: somebody else's page, a torn document."""
    if isinstance(answer, requests.Response) and answer.status_code == requests.codes.ok:
        raise VaultAway("What answers at Vault's address is not Vault.")
    return answer


def _lives(vault: hvac.Client) -> bool:
    """Whether its token is good for anything."""
    try:
        vault.auth.token.lookup_self()
    except Forbidden:
        return False
    return True


def _path(error: VaultError) -> str:
    return str(error.url).partition("/v1/")[2] or "this"


def _reason(error: VaultError) -> str:
    return ", ".join(error.errors or [type(error).__name__]).strip()
