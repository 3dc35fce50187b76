"""A browser that signs in at a stand-in directory, and what may go wrong on its way."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import requests
from flask import Flask
from werkzeug.test import TestResponse

from embedded.entra.directory import Directory, DirectoryPerson, RegisteredApplication
from embedded.entra.server import StandIn
from tests.cast import House, Person

CALLBACK = "/api/auth/sso/azure/callback"


@dataclass
class Company:
    """A tenant and its directory, with the application that is registered there for us."""

    app: Flask
    entra: StandIn
    house: House
    owner: Person
    directory: Directory
    application: RegisteredApplication
    domain: str

    @property
    def config(self) -> str:
        return f"/api/tenants/{self.house.id}/sso/config"

    @property
    def login(self) -> str:
        return f"/api/auth/sso/azure/login/{self.house.id}"

    def given(self, **changes: Any) -> dict[str, Any]:
        """What its owner says of it."""
        return {"directory_id": self.directory.id, "client_id": self.application.id} | changes

    def change(self, **values: Any) -> None:
        answer = self.owner.patch(self.config, json=values)
        assert answer.status_code == 200, answer.text

    def newcomer(self, name: str = "Ursula", *groups: str) -> DirectoryPerson:
        """Somebody whom the directory alone knows."""
        number = len(self.directory.people)
        email = f"{name.lower()}{number}@{self.domain}"
        return self.directory.add_person(email, name, *groups)


class Browser:
    """Cookies of its own; it goes to the directory, chooses a person there, and comes back."""

    def __init__(self, company: Company) -> None:
        self.company = company
        self.client = company.app.test_client()

    def depart(self, address: str | None = None, **query: str) -> str:
        """Where the product sends it."""
        path = address or self.company.login
        answer = self.client.get(path, query_string=query or None)
        assert answer.status_code == 302, answer.text
        return str(answer.headers["Location"])

    def choose(self, location: str, person: DirectoryPerson) -> dict[str, str]:
        """What the directory answers, on its way back."""
        answer = requests.post(
            location,
            data={"person": person.id},
            verify=str(self.company.entra.ca_file),
            allow_redirects=False,
            timeout=30,
        )
        assert answer.status_code == 302, answer.text
        back = urlsplit(answer.headers["Location"])
        assert back.path == CALLBACK
        return dict(parse_qsl(back.query))

    def come_back(self, answer: Mapping[str, str]) -> TestResponse:
        return self.client.get(f"{CALLBACK}?{urlencode(answer)}")

    def sign_in(self, person: DirectoryPerson, **query: str) -> TestResponse:
        return self.come_back(self.choose(self.depart(**query), person))


def bearer(answer: TestResponse) -> dict[str, str]:
    """The header of whoever was signed in."""
    assert answer.status_code == 200, answer.text
    return {"Authorization": f"Bearer {answer.get_json()['access_token']}"}
