"""Let a tenant's members sign in with a directory, for a test: over HTTP, as its owner.

With AZURE_TENANT_ID and AZURE_CLIENT_ID (and AZURE_CLIENT_SECRET, where the application has one) it
is a real one: the script prints an address, waits until somebody has signed in there, and switches
the directory on. With --stand-in it is the one of `SSO_DEMO=1 make run`, where it signs in by
itself, and links acme's people with their accounts. It can be repeated.

Exit codes: 0 the directory is switched on; 1 it is not, and it says why; 2 wrong arguments.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import requests

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "backend"))

from embedded.entra import demo

_SECONDS = 30
_LOOK_EVERY = 2.0
_OK, _MOVED, _ERROR = 200, 302, 400


class SetupFailed(Exception):
    """What the product or the directory said."""


@dataclass
class Api:
    """The product, as somebody who is signed in."""

    url: str
    http: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        self.http.trust_env = False  # a proxy of the environment does not know this machine

    def sign_in(self, email: str, password: str) -> None:
        said = self.ask("POST", "/api/auth/login", {"email": email, "password": password})
        self.http.headers["Authorization"] = f"Bearer {said['access_token']}"

    def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """The answer of a request that has to succeed."""
        try:
            answer = self.http.request(method, self.url + path, json=body, timeout=_SECONDS)
            said: dict[str, Any] = answer.json() if answer.content else {}
        except requests.RequestException as error:
            raise SetupFailed(
                f"{self.url} is no Tenantry that answers ({_name(error)})."
            ) from error
        if answer.status_code >= _ERROR:
            faults = "".join(f"\n  {field}: {told}" for field, told in _faults(said))
            raise SetupFailed(f"{method} {path}: {answer.status_code} {said.get('detail')}{faults}")
        return said

    def tenant(self, slug: str) -> str:
        """Its id."""
        for each in self.ask("GET", "/api/tenants?limit=200")["items"]:
            if each["slug"] == slug:
                return str(each["id"])
        raise SetupFailed(f"{slug} is no tenant of this person's.")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tenant", default="acme", help="its slug (default: acme)")
    parser.add_argument("--owner", help="the owner's address (default: the demonstration's)")
    parser.add_argument(
        "--people",
        type=Path,
        default=ROOT / ".data" / "credentials.json",
        help="who can log in where (default: .data/credentials.json); or OWNER_PASSWORD",
    )
    parser.add_argument("--stand-in", action="store_true", help="the one of SSO_DEMO=1 make run")
    parser.add_argument("--wait", type=float, default=600, help="seconds (default: 600)")
    parser.add_argument("--json", action="store_true", help="report as one JSON document")
    arguments = parser.parse_args()
    try:
        report = _set_up(arguments)
    except SetupFailed as failure:
        sys.exit(str(failure))
    except (OSError, ValueError) as error:
        sys.exit(f"{_name(error)}: {error}")
    if arguments.json:
        print(json.dumps(report))
    else:
        print(f"{arguments.tenant} signs in at {report['login_url']}")


def _set_up(arguments: argparse.Namespace) -> dict[str, Any]:
    known = json.loads(arguments.people.read_text()) if arguments.people.exists() else {}
    passwords = {each["email"]: each["password"] for each in known.get("people", ())}
    owner = arguments.owner or f"alice@{arguments.tenant}.example"
    api = Api(os.environ.get("PUBLIC_URL") or known.get("url") or "http://localhost:4999")
    password = os.environ.get("OWNER_PASSWORD") or passwords.get(owner)
    if password is None:
        raise SetupFailed(
            f"The password of {owner} is not known: set OWNER_PASSWORD, or run `make run` first."
        )
    given, page = _given(arguments), os.environ.get("SSO_DEMO_PAGE")
    if arguments.stand_in and page is None:
        raise SetupFailed(
            "The stand-in is a part of `SSO_DEMO=1 make run`, which calls this itself."
        )
    api.sign_in(owner, password)
    tenant = api.tenant(arguments.tenant)
    config = f"/api/tenants/{tenant}/sso/config"
    api.ask("PUT", config, given)
    address = api.ask("POST", f"{config}/test")["login_url"]
    if arguments.stand_in:
        _arrive(api, address, owner)
    else:
        _wait_for_somebody(api, config, address, seconds=arguments.wait)
    said = api.ask("POST", f"{config}/activate")
    report = {"tenant_id": tenant, "login_url": said["login_url"], "state": said["state"]}
    if arguments.stand_in:
        for email in demo.PEOPLE.keys() & passwords.keys():
            _link(api, said["login_url"], email, passwords[email])
        report["page"] = f"{page}/?{urlencode({'api': api.url, 'tenant': tenant})}"
    return report


def _given(arguments: argparse.Namespace) -> dict[str, object]:
    if arguments.stand_in:
        return {"directory_id": str(demo.DIRECTORY_ID), "client_id": str(demo.CLIENT_ID)}
    known = {"directory_id": "AZURE_TENANT_ID", "client_id": "AZURE_CLIENT_ID"}
    if missing := [name for name in known.values() if not os.environ.get(name)]:
        raise SetupFailed(
            f"Set {' and '.join(missing)}, of the application that you registered"
            " (docs/azure-ad.md)."
        )
    given: dict[str, object] = {name: os.environ[variable] for name, variable in known.items()}
    secret = os.environ.get("AZURE_CLIENT_SECRET")
    return given | ({"client_secret": secret} if secret else {})


def _name(error: Exception) -> str:
    return type(error).__name__


def _faults(said: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is wrong with each field of what was sent."""
    told: Mapping[str, Any] = said.get("errors") or {}
    return [(field, " ".join(map(str, words))) for field, words in told.items()]


def _wait_for_somebody(api: Api, config: str, address: str, *, seconds: float) -> None:
    print(f"Sign in here, in a browser, for a test:\n\n  {address}\n", file=sys.stderr, flush=True)
    before = api.ask("GET", config)["tested_at"]
    deadline = time.monotonic() + seconds
    while api.ask("GET", config)["tested_at"] == before:
        if time.monotonic() > deadline:
            raise SetupFailed("Nobody signed in for the test.")
        time.sleep(_LOOK_EVERY)


def _arrive(api: Api, address: str, email: str) -> requests.Response:
    """Sign in at the stand-in as a browser does, and come back with its cookie.

    A browser trusts localhost with a Secure cookie over http; `requests` does not.
    """
    away = requests.get(address, allow_redirects=False, timeout=_SECONDS)
    if away.status_code != _MOVED:
        raise SetupFailed(f"{address}: {away.status_code} {away.text}")
    cookie = away.headers["Set-Cookie"].partition(";")[0]
    there = requests.post(
        away.headers["Location"],
        data={"person": str(demo.person_id(email))},
        allow_redirects=False,
        timeout=_SECONDS,
    )
    if there.status_code != _MOVED:
        raise SetupFailed(f"The stand-in says {there.status_code}.")
    back = urlsplit(there.headers["Location"])
    return requests.get(
        f"{api.url}{back.path}?{back.query}", headers={"Cookie": cookie}, timeout=_SECONDS
    )


def _link(api: Api, address: str, email: str, password: str) -> None:
    """Once: whoever is linked just signs in."""
    came = _arrive(api, address, email)
    said: Mapping[str, Any] = came.json()
    if came.status_code != _OK and "link_token" not in said:
        raise SetupFailed(f"{email}: {said.get('detail')}")
    if "link_token" in said:
        body = {"link_token": said["link_token"], "email": email, "password": password}
        Api(api.url).ask("POST", "/api/auth/sso/link", body)


if __name__ == "__main__":
    main()
