"""A directory of oidc-provider, which shares no line with our stand-in, and a browser there."""

import html
import re
import secrets
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit

import requests
from flask import Flask

from app.core import ids
from embedded.oidc import origin_and_ca_file
from tests.cast import House, Person, new_house, new_person
from tests.domains.sso.browsers import CALLBACK
from tests.domains.sso.conftest import prove

_SECONDS = 30
_REDIRECTS = 8


@dataclass
class SecondDirectory:
    """``people`` are by login names; members of the claims that are None are left out."""

    url: str
    redirect_uri: str = f"http://localhost{CALLBACK}"
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    client_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    secret: str = field(default_factory=secrets.token_urlsafe)
    people: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def ca_file(self) -> Path:
        return origin_and_ca_file(self.url)[1]

    def add_person(self, login: str, address: str, **claims: Any) -> str:
        told = {"oid": str(uuid.uuid4()), "name": login.title(), "email": address}
        self.people[login] = told | {"preferred_username": address} | claims
        return login

    def publish(self, **client: Any) -> None:
        """Makes the directory, or another one with its name: with new keys, knowing no grant."""
        known = {
            "client_id": self.client_id,
            "client_secret": self.secret,
            "application_type": "native",  # http://localhost, on any port
            "redirect_uris": [self.redirect_uri],
            "grant_types": ["authorization_code", "refresh_token"],
            "token_endpoint_auth_method": "client_secret_post",
        }
        with _session(self.ca_file) as http:
            body = {"client": known | client, "people": self.people}
            address = f"{origin_and_ca_file(self.url)[0]}/{self.id}"
            answer = http.put(address, json=body, timeout=_SECONDS)
        assert answer.status_code == 201, answer.text

    def sign_in(self, location: str, login: str, *, consents: bool = True) -> dict[str, str]:
        """What a browser brings back that was sent to the location."""
        with _session(self.ca_file) as http:
            page = _follow(http, http.get(location, allow_redirects=False, timeout=_SECONDS))
            for form in ({"prompt": "login", "login": login, "password": "any"}, None):
                assert isinstance(page, requests.Response), page
                if form is None and not consents:
                    way = re.search(r'href="([^"]*/abort)"', page.text)
                    assert way is not None, page.text
                    there = urljoin(page.url, html.unescape(way[1]))
                    answer = http.get(there, allow_redirects=False, timeout=_SECONDS)
                else:
                    answer = http.post(
                        page.url,
                        data=form or {"prompt": "consent"},
                        allow_redirects=False,
                        timeout=_SECONDS,
                    )
                page = _follow(http, answer)
        assert isinstance(page, dict), page.text
        return page


@contextmanager
def _session(ca_file: Path) -> Iterator[requests.Session]:
    with requests.Session() as http:
        http.trust_env = False
        http.verify = str(ca_file)
        yield http


def _follow(
    http: requests.Session, answer: requests.Response
) -> requests.Response | dict[str, str]:
    """The next page, or what is given to our callback."""
    for _ in range(_REDIRECTS):
        if not answer.is_redirect:
            return answer
        there = urljoin(answer.url, answer.headers["Location"])
        parts = urlsplit(there)
        if parts.path == CALLBACK:
            return dict(parse_qsl(parts.query))
        answer = http.get(there, allow_redirects=False, timeout=_SECONDS)
    raise AssertionError(f"redirected without end, last to {answer.url}")


@dataclass
class Guest:
    """A tenant whose directory it is, and its owner."""

    app: Flask
    house: House
    owner: Person
    directory: SecondDirectory
    domain: str

    @property
    def config(self) -> str:
        return f"/api/tenants/{self.house.id}/sso/config"

    def send(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        answer = self.owner.send(method, path, json=body)
        assert answer.status_code == 200, answer.text
        given: dict[str, Any] = answer.get_json()
        return given


def settle(app: Flask, directory: SecondDirectory) -> Guest:
    """A tenant that takes in whom the directory has in the tenant's domain, as users."""
    domain = f"acme-{ids.new_id().hex[-12:]}.example"
    with app.app_context():
        owner = new_person(app, "Alice")
        house = new_house("acme", owner)
        prove(house.id, domain)
    guest = Guest(app, house, owner, directory, domain)
    directory.add_person("alice", f"alice@{domain}")
    directory.publish()
    given = {
        "directory_id": directory.id,
        "client_id": directory.client_id,
        "client_secret": directory.secret,
        "sso_domain_whitelist": [domain],
        "auto_provisioning_enabled": True,
        "default_role": "user",
    }
    guest.send("PUT", guest.config, given)
    address = urlsplit(guest.send("POST", f"{guest.config}/test")["login_url"])
    client = app.test_client()
    away = client.get(f"{address.path}?{address.query}")
    back = directory.sign_in(away.headers["Location"], "alice")
    tested = client.get(CALLBACK, query_string=back)
    assert tested.get_json() == {"tested": True}, tested.text
    guest.send("POST", f"{guest.config}/activate")
    return guest
