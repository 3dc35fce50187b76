"""The main job over plain HTTP, against a running server (`make tour`).

Alice creates a tenant, which gets a database of its own, and puts a document into it; a signed
link lets anybody who has it read this one document; a server of her company's, which the tour
starts, hears of it by a signed webhook, and when that server is gone, Alice is told; Mallory, who
owns another tenant, finds nothing at all. What happened is in the tenant's audit trail.

Exit codes: 0 all is as it should be; 1 a step did not end so, and it says which; 2 wrong arguments.
"""

import argparse
import base64
import hashlib
import hmac
import json
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, Queue
from threading import Event, Thread
from typing import Any

import requests

ROOT = Path(__file__).resolve().parent.parent
_SECONDS = 30
_LOOK_EVERY = 0.2
_HIDDEN = 404
_REFUSED = 422


class TourFailed(Exception):
    """A step did not end as it should; the message says which and how."""


@dataclass(frozen=True)
class Person:
    """Somebody who can log in."""

    email: str
    password: str = field(repr=False)


class Visitor:
    """One person's requests, each printed with its outcome and checked."""

    def __init__(self, url: str, say: Callable[[str], None], ca: Path | None = None) -> None:
        self._url = url.rstrip("/")
        self._say = say
        self._ca = ca
        self._http = requests.Session()
        self._http.trust_env = False  # a proxy of the environment does not know this machine
        self._http.verify = True if ca is None else str(ca)

    def log_in(self, person: Person) -> None:
        """Every later request carries the token."""
        answer = self.expect(
            200,
            "POST",
            "/api/auth/login",
            json={"email": person.email, "password": person.password},
        )
        token = _field(answer, "access_token")
        self._http.headers["Authorization"] = f"Bearer {token}"

    def expect(
        self,
        status: int | set[int],
        method: str,
        path: str,
        **request: Any,  # passed on to requests
    ) -> requests.Response:
        """Send it; TourFailed when the answer has another status."""
        wanted = status if isinstance(status, set) else {status}
        answer = self.ask(method, path, **request)
        shown = _shown(path.removeprefix(self._url))
        if answer.status_code not in wanted:
            hoped = " or ".join(map(str, sorted(wanted)))
            said = answer.text[:500]
            raise TourFailed(
                f"{method} {shown}: expected {hoped}, got {answer.status_code}: {said}"
            )
        self._say(f"  ✓ {method:<6} {shown}  →  {answer.status_code}")
        return answer

    def ask(
        self,
        method: str,
        path: str,
        **request: Any,  # passed on to requests
    ) -> requests.Response:
        """Send it, and say nothing; TourFailed where there is no answer."""
        url = path if path.startswith("http") else self._url + path
        try:
            return self._http.request(method, url, timeout=_SECONDS, **request)
        except requests.ConnectionError as error:
            raise TourFailed(f"Nobody answers on {self._url}. Start it: make run") from error
        except requests.RequestException as error:
            raise TourFailed(f"{method} {_shown(path)}: {error}") from error

    def anonymous(self) -> "Visitor":
        """The same server, without a token."""
        return Visitor(self._url, self._say, self._ca)


@dataclass(frozen=True)
class Listener:
    """A server of Alice's company, on this machine: it keeps what is posted to it."""

    url: str
    arrived: "Queue[tuple[Mapping[str, str], bytes]]" = field(default_factory=Queue)
    closed: Event = field(default_factory=Event)

    def close_down(self) -> None:
        """From now on it says that it is gone for good."""
        self.closed.set()

    def next(self) -> tuple[Mapping[str, str], bytes]:
        """Headers and body of what arrives next."""
        try:
            return self.arrived.get(timeout=_SECONDS)
        except Empty:
            raise TourFailed(
                f"No webhook arrived in {_SECONDS} s. Do the worker and the consumer run?"
            ) from None


@dataclass(frozen=True)
class Endpoint:
    """Where Alice's company hears of events, and the secret that they are signed with."""

    id: str
    secret: str = field(repr=False)


@contextmanager
def _listening() -> Iterator[Listener]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            listener.arrived.put((dict(self.headers), body))
            self.send_response(410 if listener.closed.is_set() else 204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """The tour tells what arrived."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        listener = Listener(f"http://127.0.0.1:{server.server_port}/tenantry")
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield listener
        finally:
            server.shutdown()
            thread.join()


def take_tour(
    url: str,
    *,
    owner: Person,
    stranger: Person,
    file: Path,
    say: Callable[[str], None] = print,
    ca: Path | None = None,
) -> None:
    """All steps in order; TourFailed at the first that does not end as it should."""
    content = file.read_bytes()
    alice, mallory = Visitor(url, say, ca), Visitor(url, say, ca)

    say(f"\n{owner.email} logs in and creates a tenant")
    alice.log_in(owner)
    tenant = _create_tenant(alice, say)

    with _listening() as listener:
        say("\nA server of her company's listens for documents that come and go")
        endpoint = _subscribe(alice, tenant, listener, say)

        say("\nShe uploads a document and shares it by a signed link")
        document = _upload(alice, tenant, file, content)
        link = _share(alice, document, content)

        say(f"\n{stranger.email}, who owns another tenant, finds nothing")
        mallory.log_in(stranger)
        _find_nothing(mallory, tenant, document, file)

        say("\nNor does anybody with a link that was changed")
        alice.anonymous().expect({403, _HIDDEN}, "GET", _tampered(link))

        if endpoint is not None:
            say("\nMeanwhile, the server has heard of the document")
            _hear(listener, endpoint, document, say)
        say("\nThe document is deleted")
        listener.close_down()
        alice.expect(204, "DELETE", document)
        alice.expect(_HIDDEN, "GET", document)

        if endpoint is not None:
            say(f"\nThe server said that it is gone for good, of which {owner.email} is told")
            _be_told(alice, endpoint, say)

    say("\nThe audit trail has it all: who, what, when, from where")
    _look_back(alice, tenant, document, say)
    say("\nAll as it should be.")


def _create_tenant(alice: Visitor, say: Callable[[str], None]) -> str:
    slug = f"tour-{secrets.token_hex(4)}"
    wish = {"name": "The tour's company", "slug": slug}
    answer = alice.expect(201, "POST", "/api/tenants", json=wish)
    tenant = f"/api/tenants/{_field(answer, 'id')}"
    state = _field(alice.expect(200, "GET", tenant), "state")
    say(f"    The tenant {slug} is {state}: its database exists, with its tables.")
    if state != "active":
        raise TourFailed(f"GET {tenant}: expected the state active, got {state}")
    return tenant


def _subscribe(
    alice: Visitor, tenant: str, listener: Listener, say: Callable[[str], None]
) -> Endpoint | None:
    """None where this installation sends nothing to the machine that it runs on."""
    types = ["document.uploaded.v1", "document.deleted.v1"]
    wish = {"url": listener.url, "event_types": types}
    answer = alice.expect({201, _REFUSED}, "POST", f"{tenant}/webhooks", json=wish)
    if answer.status_code == _REFUSED:
        _same("webhook_url_refused", _field(answer, "code"), "why the webhook is refused")
        say("    Left out: this installation sends webhooks to the internet alone.")
        return None
    return Endpoint(_field(answer, "endpoint")["id"], _field(answer, "secret"))


def _hear(
    listener: Listener, endpoint: Endpoint, document: str, say: Callable[[str], None]
) -> None:
    headers, body = listener.next()
    given = {name.lower(): value for name, value in headers.items()}
    signed = f"{given['webhook-id']}.{given['webhook-timestamp']}.".encode() + body
    key = base64.b64decode(endpoint.secret.removeprefix("whsec_"))
    expected = "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    _same(expected, given["webhook-signature"], "the webhook's signature")
    event = json.loads(body)
    _same(document.rpartition("/")[2], event["data"]["document_id"], "what the webhook tells of")
    say(f"  ✓ {event['type']} arrived, and its signature is right")


def _upload(alice: Visitor, tenant: str, file: Path, content: bytes) -> str:
    parts = {"file": (file.name, content, "text/markdown")}
    answer = alice.expect(201, "POST", f"{tenant}/documents", files=parts)
    _same(len(content), _field(answer, "size"), "the size of the upload")
    document = f"{tenant}/documents/{_field(answer, 'id')}"
    listed = _field(alice.expect(200, "GET", f"{tenant}/documents"), "items")
    _same([_field(answer, "id")], [each["id"] for each in listed], "the list of documents")
    downloaded = alice.expect(200, "GET", f"{document}/download").content
    _same(content, downloaded, "the bytes that come back")
    return document


def _share(alice: Visitor, document: str, content: bytes) -> str:
    answer = alice.expect(200, "GET", f"{document}/download-url", params={"expires_in": 3600})
    link = str(_field(answer, "url"))
    read = alice.anonymous().expect(200, "GET", link).content
    _same(content, read, "the bytes behind the link")
    return link


def _find_nothing(mallory: Visitor, tenant: str, document: str, file: Path) -> None:
    for path in (tenant, f"{tenant}/documents", document):
        mallory.expect(_HIDDEN, "GET", path)
    mallory.expect(_HIDDEN, "GET", f"{document}/download")
    mallory.expect(_HIDDEN, "GET", f"{document}/download-url")
    mallory.expect(_HIDDEN, "DELETE", document)
    parts = {"file": (file.name, b"hers", "text/plain")}
    mallory.expect(_HIDDEN, "POST", f"{tenant}/documents", files=parts)


def _be_told(alice: Visitor, endpoint: Endpoint, say: Callable[[str], None]) -> None:
    """A moment later: consumers do what follows from events."""
    path = "/api/users/me/notifications"
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        for each in _field(alice.ask("GET", path), "items"):
            if each["subject"] == endpoint.id:
                alice.expect(200, "GET", path)
                say(f"    {each['title']}")
                return
        time.sleep(_LOOK_EVERY)
    raise TourFailed(f"Nobody was told in {_SECONDS} s. Do the worker and the consumer run?")


def _look_back(alice: Visitor, tenant: str, document: str, say: Callable[[str], None]) -> None:
    target = {"target": document.rpartition("/")[2]}
    entries = _field(alice.expect(200, "GET", f"{tenant}/audit", params=target), "items")
    types = [each["type"] for each in reversed(entries)]
    for wanted in ("document.uploaded", "document.link_created", "document.deleted"):
        if wanted not in types:
            raise TourFailed(f"GET {tenant}/audit: it has no {wanted}: {', '.join(types)}")
    say(f"    {', '.join(types)}")


def _field(answer: requests.Response, name: str) -> Any:  # JSON
    try:
        return answer.json()[name]
    except (ValueError, KeyError, TypeError) as error:
        raise TourFailed(f"The answer has no field {name}: {answer.text[:500]}") from error


def _same(expected: object, actual: object, what: str) -> None:
    if expected != actual:
        raise TourFailed(f"Wrong: {what}.")


def _shown(path: str) -> str:
    """Links are long, and passwords of a kind."""
    before, link, token = path.partition("/api/links/")
    return f"{before}{link}{token[:8]}…" if token else path


def _tampered(link: str) -> str:
    """The same link with one character of its middle changed."""
    start = link.rindex("/") + 1
    middle = start + (len(link) - start) // 2
    other = "A" if link[middle] != "A" else "B"
    return link[:middle] + other + link[middle + 1 :]


def _read_credentials(path: Path) -> Mapping[str, Any]:
    if not path.exists():
        raise TourFailed(f"{path} is missing. Start the server first (make run), or give --url.")
    credentials: Mapping[str, Any] = json.loads(path.read_text())
    return credentials


def _person(credentials: Mapping[str, Any], name: str) -> Person:
    for person in credentials["people"]:
        if person["email"].startswith(name):
            return Person(person["email"], person["password"])
    raise TourFailed(f"Nobody called {name} in the credentials: give their e-mail and password.")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--credentials", type=Path, default=ROOT / ".data" / "credentials.json")
    parser.add_argument("--url", help="default: the one in the credentials")
    parser.add_argument("--email", help="who creates the tenant; default: Alice")
    parser.add_argument("--password")
    parser.add_argument("--stranger-email", help="who finds nothing; default: Mallory")
    parser.add_argument("--stranger-password", help="default: --password")
    parser.add_argument("--file", type=Path, default=ROOT / "README.md", help="what is uploaded")
    parser.add_argument("--ca", type=Path, help="certificate to trust in place of the system's")
    return parser.parse_args()


def _tour(options: argparse.Namespace) -> None:
    own = options.url and options.email and options.password and options.stranger_email
    known = {} if own else _read_credentials(options.credentials)
    if options.email:
        owner = Person(options.email, options.password or known["password"])
    else:
        owner = _person(known, "alice")
    if options.stranger_email:
        password = options.stranger_password or options.password or known["password"]
        stranger = Person(options.stranger_email, password)
    else:
        stranger = _person(known, "mallory")
    take_tour(
        options.url or known["url"],
        owner=owner,
        stranger=stranger,
        file=options.file,
        ca=options.ca,
    )


def main() -> int:
    """The exit code."""
    try:
        _tour(_arguments())
    except TourFailed as error:
        print(f"\n✗ {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
