"""One directory of the stand-in: its people, keys, applications, and what it has handed out."""

import hashlib
import secrets
import time
import uuid
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from embedded.entra import tokens
from embedded.entra.refusals import Refusal

_ACCESS_SECONDS = 3600
_CODE_SECONDS = 600


@dataclass
class DirectoryPerson:
    """Somebody in a directory; ``groups`` are ids, also those that groups of hers are in."""

    email: str
    name: str
    groups: set[str] = field(default_factory=set)
    enabled: bool = True
    id: str = field(default_factory=lambda: str(uuid.uuid4()))


@dataclass
class RegisteredApplication:
    """``secret`` None is a public client; ``redirect_uris`` as registered."""

    redirect_uris: set[str]
    secret: str | None = None
    certificate: str | None = None
    id: str = field(default_factory=lambda: str(uuid.uuid4()))


@dataclass
class _Code:
    person: DirectoryPerson
    application: RegisteredApplication
    redirect_uri: str
    nonce: str | None
    challenge: str
    scope: str
    expires: float
    used: bool = False


@dataclass
class _Grant:
    """What a refresh token stands for."""

    person: DirectoryPerson
    application: RegisteredApplication
    scope: str
    revoked: bool = False


@cache
def _keys() -> tuple[rsa.RSAPrivateKey, ...]:
    """Making one takes a while, so a run of the stand-in makes few."""
    return tuple(rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(3))


class Directory:
    """``misbehaviour`` names what it does wrong with each token from now on; see `tokens`."""

    _numbers = iter(range(1_000_000))
    base: str
    id: str

    def __init__(self, *, base: str, front: str, directory_id: str | None = None) -> None:
        self.id = directory_id or str(uuid.uuid4())
        self.base, self.front = base, front
        self.people: dict[str, DirectoryPerson] = {}
        self.applications: dict[str, RegisteredApplication] = {}
        self.misbehaviour: str | None = None
        self.graph_misbehaviour: str | None = None
        self.access_seconds = _ACCESS_SECONDS
        self.slow_seconds = 0.0
        self.counts: Counter[str] = Counter()
        self._codes: dict[str, _Code] = {}
        self._grants: dict[str, _Grant] = {}
        self._access: dict[str, tuple[DirectoryPerson, float]] = {}
        self._signing: list[tokens.SigningKey] = []
        self.rotate_keys()

    @property
    def issuer(self) -> str:
        return f"{self.base}/{self.id}/v2.0"

    def add_person(self, email: str, name: str, *groups: str) -> DirectoryPerson:
        person = DirectoryPerson(email=email, name=name, groups=set(groups))
        self.people[person.id] = person
        return person

    def register(self, *redirect_uris: str, secret: str | None = None) -> RegisteredApplication:
        application = RegisteredApplication(set(redirect_uris), secret)
        self.applications[application.id] = application
        return application

    def rotate_keys(self) -> None:
        """From now on another key signs, and the former ones are published no more."""
        number = next(self._numbers)
        self._signing = [
            tokens.SigningKey(f"key-{number}-{secrets.token_hex(4)}", _keys()[number % 3])
        ]

    @property
    def key(self) -> tokens.SigningKey:
        return self._signing[-1]

    def key_set(self) -> dict[str, Any]:
        return {"keys": [key.jwk() | {"issuer": self.issuer} for key in self._signing]}

    def revoke(self, person: DirectoryPerson) -> None:
        """As a new password does."""
        for grant in self._grants.values():
            grant.revoked = grant.revoked or grant.person is person

    def application_for(self, query: Mapping[str, str]) -> RegisteredApplication:
        """The application that a browser comes from.

        Raises:
            Refusal: to be shown, and never sent back to whoever is not registered.
        """
        application = self.applications.get(query.get("client_id", ""))
        if application is None:
            raise Refusal("unauthorized_client", "700016", "The application was not found.")
        if query.get("redirect_uri") not in application.redirect_uris:
            raise Refusal("invalid_request", "50011", "The redirect URI does not match.")
        return application

    def authorize(self, query: Mapping[str, str], person_id: str) -> str:
        """A code for somebody who has signed in here.

        Raises:
            Refusal: with PKCE missing, an account that is disabled, or nobody's consent.
        """
        application, person = self.application_for(query), self.people.get(person_id)
        if not person_id:
            raise Refusal("access_denied", "65004", "User declined to consent to access the app.")
        if person is None:
            raise Refusal("access_denied", "50034", "The user account does not exist.")
        if query.get("code_challenge_method") != "S256" or not query.get("code_challenge"):
            raise Refusal("invalid_request", "9002325", "PKCE is required.")
        if not person.enabled:
            raise Refusal("access_denied", "50057", "The user account is disabled.")
        code = f"0.{secrets.token_urlsafe(32)}"
        self._codes[code] = _Code(
            person=person,
            application=application,
            redirect_uri=query["redirect_uri"],
            nonce=query.get("nonce"),
            challenge=query["code_challenge"],
            scope=query.get("scope", ""),
            expires=time.time() + _CODE_SECONDS,
        )
        return code

    def token(self, form: Mapping[str, str]) -> dict[str, Any]:
        """The answer of the token endpoint.

        Raises:
            Refusal: of whatever is not as it has to be.
        """
        self.counts[form.get("grant_type", "")] += 1
        time.sleep(self.slow_seconds)
        if (refusal := Refusal.named(self.misbehaviour)) is not None:
            raise refusal
        application = self._authenticated(form)
        if form.get("grant_type") == "authorization_code":
            code = self._redeemed(form, application)
            return self._answer(code.person, application, code.scope, nonce=code.nonce)
        if form.get("grant_type") == "refresh_token":
            grant = self._renewed(form, application)
            return self._answer(grant.person, application, grant.scope, nonce=None)
        raise Refusal("unsupported_grant_type", "70003", "The grant type is not supported.")

    def person_behind(self, access_token: str) -> DirectoryPerson | None:
        person, expires = self._access.get(access_token, (None, 0.0))
        return person if time.time() < expires else None

    def _authenticated(self, form: Mapping[str, str]) -> RegisteredApplication:
        application = self.applications.get(form.get("client_id", ""))
        if application is None:
            raise Refusal("unauthorized_client", "700016", "The application was not found.")
        if application.certificate is not None:
            tokens.check_assertion(
                form.get("client_assertion", ""),
                application.certificate,
                client_id=application.id,
                audience=f"{self.base}/{self.id}/oauth2/v2.0/token",
            )
        elif application.secret is not None and "client_secret" not in form:
            raise Refusal("invalid_client", "7000218", "The request has to contain a secret.")
        elif form.get("client_secret") != application.secret:
            raise Refusal("invalid_client", "7000215", "Invalid client secret provided.")
        return application

    def _redeemed(self, form: Mapping[str, str], application: RegisteredApplication) -> _Code:
        code = self._codes.get(form.get("code", ""))
        if code is None or code.application is not application:
            raise Refusal("invalid_grant", "70000", "The code is not valid.")
        if code.used:
            raise Refusal("invalid_grant", "54005", "The code was already redeemed.")
        code.used = True
        if code.expires < time.time():
            raise Refusal("invalid_grant", "70008", "The code has expired.")
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if urlsafe_b64encode(digest).rstrip(b"=").decode() != code.challenge:
            raise Refusal("invalid_grant", "501481", "The code verifier does not match.")
        if form.get("redirect_uri") != code.redirect_uri:
            raise Refusal("invalid_grant", "50011", "The redirect URI does not match.")
        return code

    def _renewed(self, form: Mapping[str, str], application: RegisteredApplication) -> _Grant:
        grant = self._grants.get(form.get("refresh_token", ""))
        if grant is None or grant.application is not application:
            raise Refusal("invalid_grant", "70000", "The refresh token is not valid.")
        if not grant.person.enabled:
            raise Refusal("invalid_grant", "50057", "The user account is disabled.")
        if grant.revoked:
            raise Refusal("invalid_grant", "50173", "The grant was revoked.")
        return grant

    def _answer(
        self,
        person: DirectoryPerson,
        application: RegisteredApplication,
        scope: str,
        *,
        nonce: str | None,
    ) -> dict[str, Any]:
        access, refresh = secrets.token_urlsafe(32), f"1.{secrets.token_urlsafe(32)}"
        self._access[access] = (person, time.time() + self.access_seconds)
        self._grants[refresh] = _Grant(person, application, scope)
        claims = tokens.claims(self, person, audience=application.id, nonce=nonce)
        return {
            "token_type": "Bearer",
            "scope": scope,
            "expires_in": self.access_seconds,
            "ext_expires_in": self.access_seconds,
            "access_token": access,
            "refresh_token": refresh,
            "client_info": tokens.encoded({"uid": person.id, "utid": self.id}),
            **tokens.id_token(self, claims),
        }
