"""Microsoft Entra ID, by MSAL: the authorization code flow with PKCE, and renewing tokens.

MSAL remembers answers inside its application object, refusals too: each use makes a new one.
"""

import json
import logging
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID

import msal

from app.core import clock
from app.integrations import id_tokens
from app.integrations.directory_http import DirectorySession, DirectoryUnavailable
from app.integrations.id_tokens import Claims, Expected, InvalidIdToken, UnknownKey
from app.settings import Settings

# What MSAL logs at DEBUG holds codes and verifiers in clear.
logging.getLogger("msal").setLevel(logging.INFO)
# Its one warning is about what a tenant's owners choose (docs/azure-ad.md).
warnings.filterwarnings("ignore", message="response_mode='form_post' is recommended")

_LONGEST_NAME: Final = 100
_KEYS_ARE_KEPT: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """An application in a customer's directory, with the secret or certificate that it may have."""

    directory_id: UUID
    client_id: UUID
    scopes: tuple[str, ...]
    client_secret: str | None = None
    certificate: str | None = None
    response_mode: str = "query"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """What a directory gave: ``cache`` is MSAL's, to be stored sealed and whole."""

    id_token: object
    access_token: str
    expires_at: datetime
    cache: str


class GrantRefused(Exception):
    """The directory refuses, for good or until somebody does something.

    ``error`` is OAuth's, ``aadsts`` Entra's number; ``claims`` is what a further sign-in has to
    show, where that is what is missing.
    """

    def __init__(self, error: str, *, aadsts: str | None = None, claims: str | None = None) -> None:
        super().__init__(f"{error} AADSTS{aadsts}" if aadsts else error)
        self.error, self.aadsts, self.claims = error, aadsts, claims


@dataclass(frozen=True, slots=True)
class _Keys:
    """What a directory published, at that moment."""

    known: list[Mapping[str, Any]]
    since: datetime


class Entra:
    """One cloud of Entra ID; the settings say which."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._keys: dict[UUID, _Keys] = {}

    def issuer(self, directory_id: UUID) -> str:
        return f"{self._settings.azure_authority_url}/{directory_id}/v2.0"

    def begin(
        self,
        registration: Registration,
        *,
        state: str,
        redirect_uri: str,
        login_hint: str | None = None,
        claims_challenge: str | None = None,
    ) -> dict[str, Any]:
        """A flow to be kept until the browser comes back; ``auth_uri`` is where it is sent.

        Raises:
            DirectoryUnavailable, GrantRefused: the directory is away, or there is none.
        """
        with DirectorySession(self._settings) as http:
            flow: dict[str, Any] = self._application(registration, http).initiate_auth_code_flow(
                list(registration.scopes),
                redirect_uri=redirect_uri,
                state=state,
                login_hint=login_hint,
                claims_challenge=claims_challenge,
                response_mode=registration.response_mode,
            )
        return flow

    def redeem(
        self, registration: Registration, flow: Mapping[str, Any], answer: Mapping[str, str]
    ) -> Tokens:
        """The tokens for the code in the browser's answer.

        Raises:
            DirectoryUnavailable, GrantRefused: the directory is away, or refuses.
        """
        cache = msal.SerializableTokenCache()
        # client_info is the browser's word for who it is, and only there to route by.
        given = {name: answer[name] for name in ("code", "state") if name in answer}
        with DirectorySession(self._settings) as http:
            application = self._application(registration, http, cache)
            return _tokens(
                lambda: application.acquire_token_by_auth_code_flow(dict(flow), given), cache
            )

    def renew(self, registration: Registration, cache: str) -> Tokens:
        """New tokens for those in the cache, whether these are still good or not.

        Raises:
            DirectoryUnavailable, GrantRefused: the directory is away, or refuses.
        """
        loaded = msal.SerializableTokenCache()
        loaded.deserialize(cache)
        with DirectorySession(self._settings) as http:
            application = self._application(registration, http, loaded)
            accounts = application.get_accounts()
            if not accounts:
                raise GrantRefused("no_account")
            return _tokens(
                lambda: application.acquire_token_silent_with_error(
                    list(registration.scopes), accounts[0], force_refresh=True
                ),
                loaded,
            )

    def validate(self, token: object, registration: Registration, *, nonce: str) -> Claims:
        """Who the ID token says has signed in.

        Raises:
            InvalidIdToken: any part of it is not as it has to be.
            DirectoryUnavailable: its keys cannot be had.
        """
        directory_id = registration.directory_id
        expected = Expected(
            issuer=self.issuer(directory_id),
            audience=registration.client_id,
            directory_id=directory_id,
            nonce=nonce,
        )
        known = self._keys.get(directory_id)
        if known is not None and clock.now() - known.since < _KEYS_ARE_KEPT:
            with suppress(UnknownKey):  # a directory changes its keys without notice
                return id_tokens.validate(token, known.known, expected)
        keys = self._fetch_keys(directory_id)
        return id_tokens.validate(token, keys, expected)

    def check(self, directory_id: UUID) -> None:
        """Returns where the directory is there, says that it is itself, and has keys.

        Raises:
            DirectoryUnavailable, GrantRefused: it is away, or none, or another.
        """
        address = f"{self.issuer(directory_id)}/.well-known/openid-configuration"
        if self._get(address).get("issuer") != self.issuer(directory_id):
            raise GrantRefused("wrong_issuer")
        self._fetch_keys(directory_id)

    def logout_url(self, directory_id: UUID, *, return_to: str) -> str:
        base = f"{self._settings.azure_authority_url}/{directory_id}/oauth2/v2.0/logout"
        return f"{base}?post_logout_redirect_uri={quote(return_to, safe='')}"

    def _application(
        self,
        registration: Registration,
        http: DirectorySession,
        cache: msal.SerializableTokenCache | None = None,
    ) -> msal.ClientApplication:
        credential: object = registration.client_secret
        if registration.certificate is not None:
            pem = registration.certificate
            credential = {"private_key": pem, "public_certificate": pem}
        kind = msal.PublicClientApplication
        if credential is not None:
            kind = msal.ConfidentialClientApplication
        try:
            return kind(
                str(registration.client_id),
                **({} if credential is None else {"client_credential": credential}),
                authority=f"{self._settings.azure_authority_url}/{registration.directory_id}",
                instance_discovery=False,
                token_cache=cache,
                http_client=http,
            )
        except (ValueError, KeyError) as error:  # what it is not told from, MSAL has no class for
            raise GrantRefused("no_such_directory") from error

    def _fetch_keys(self, directory_id: UUID) -> list[Mapping[str, Any]]:
        base = f"{self._settings.azure_authority_url}/{directory_id}/discovery/v2.0/keys"
        keys = self._get(base).get("keys")
        if not isinstance(keys, list):
            raise DirectoryUnavailable("The directory publishes no keys.")
        known: list[Mapping[str, Any]] = [key for key in keys if isinstance(key, dict)]
        self._keys[directory_id] = _Keys(known, clock.now())
        return known

    def _get(self, address: str) -> dict[str, Any]:
        with DirectorySession(self._settings) as http:
            answer = http.get(address)
            if not answer.ok:
                raise GrantRefused("no_such_directory", aadsts=_aadsts(answer.text))
            try:
                document = answer.json()
            except ValueError:
                document = None
        if not isinstance(document, dict):
            raise DirectoryUnavailable("The directory answers no JSON.")
        return document


def access_token_in(cache: str) -> str | None:
    """The one in a cache that expires last."""
    loaded = msal.SerializableTokenCache()
    loaded.deserialize(cache)
    kind = msal.TokenCache.CredentialType.ACCESS_TOKEN
    found = list(loaded.search(kind))
    newest = max(found, key=lambda entry: int(entry.get("expires_on", 0)), default=None)
    return None if newest is None else str(newest["secret"])


def _tokens(acquire: Callable[[], object], cache: msal.SerializableTokenCache) -> Tokens:
    """What MSAL acquires; its complaints about what a directory said become ours."""
    try:
        result = acquire()
    except DirectoryUnavailable:
        raise
    except (ValueError, RuntimeError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise InvalidIdToken("not_understood") from error
    if not isinstance(result, dict):
        raise GrantRefused("no_refresh_token")
    if "access_token" not in result:
        raise refusal(result)
    return Tokens(
        id_token=result.get("id_token"),
        access_token=str(result["access_token"]),
        expires_at=clock.now() + timedelta(seconds=_lifetime(result)),
        cache=str(cache.serialize()),
    )


def _lifetime(result: Mapping[str, Any]) -> int:
    try:
        return max(0, min(int(result["expires_in"]), 7 * 86_400))
    except (KeyError, ValueError, TypeError):
        return 0


def refusal(answer: Mapping[str, Any]) -> GrantRefused:
    """What an error answer of OAuth says (RFC 6749, sections 4.1.2.1 and 5.2)."""
    error = str(answer.get("error") or "no_token")[:_LONGEST_NAME]
    described = _aadsts(str(answer.get("error_description") or ""))
    claims = answer.get("claims")
    return GrantRefused(
        error, aadsts=described, claims=json.dumps(claims) if isinstance(claims, dict) else claims
    )


def _aadsts(description: str) -> str | None:
    _, found, rest = description.partition("AADSTS")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))][:10]
    return digits or None if found else None
