"""The stand-in over HTTPS: the addresses of Entra ID and of Microsoft Graph that are used here."""

import html
import json
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from embedded.entra import graph
from embedded.entra.certificates import make_certificates
from embedded.entra.directory import Directory
from embedded.entra.refusals import Refusal
from embedded.ports import LOOPBACK, free_port

_MOST_BYTES = 1_000_000
_DEMO = Path(__file__).with_name("demo.html")
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>Sign in: a stand-in for Entra ID</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:26rem;margin:12vh auto;padding:0 1rem}
button{display:block;width:100%;text-align:left;font:inherit;padding:.8rem 1rem;margin:.5rem 0;
border:1px solid #bbb;border-radius:.4rem;background:#fff;cursor:pointer}
button:hover{background:#eef}small{color:#555}</style>"""


class StandIn:
    """Directories by their ids, all behind one address.

    ``front`` is where browsers find the same: plain http where people try it, since their browsers
    know nothing of its certificates.
    """

    def __init__(self, *, port: int, front_port: int | None = None) -> None:
        self.base = f"https://localhost:{port}"
        self.front = self.base if front_port is None else f"http://localhost:{front_port}"
        self.ca_file = Path()
        self.directories: dict[str, Directory] = {}

    def add_directory(self, directory_id: str | None = None) -> Directory:
        made = Directory(base=self.base, front=self.front, directory_id=directory_id)
        self.directories[made.id] = made
        return made


@contextmanager
def stand_in(
    folder: Path, *, port: int | None = None, front_port: int | None = None
) -> Iterator[StandIn]:
    """One that answers until the block ends; its certificates are made in the folder."""
    made = StandIn(port=port or free_port(), front_port=front_port)
    made.ca_file, certificate = make_certificates(folder)

    class Handler(_Handler):
        entra = made

    server = _Server((LOOPBACK, urlsplit(made.base).port or 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    # The handshake is each connection's own: one that is silent keeps nobody waiting.
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    servers = [server]
    if front_port is not None:
        servers.append(_Server((LOOPBACK, front_port), Handler))
    with ExitStack() as stack:
        for each in servers:
            stack.enter_context(_serving(each))
        yield made


@contextmanager
def _serving(server: ThreadingHTTPServer) -> Iterator[None]:
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that goes away is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10
    entra: StandIn

    def do_GET(self) -> None:
        self._serve({})

    def do_POST(self) -> None:
        length = min(int(self.headers.get("Content-Length") or 0), _MOST_BYTES)
        raw = self.rfile.read(length).decode()
        form = {"": raw} if self._is_json else dict(parse_qsl(raw, keep_blank_values=True))
        self._serve(form)

    @property
    def _is_json(self) -> bool:
        return self.headers.get("Content-Type", "").startswith("application/json")

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def _serve(self, form: Mapping[str, str]) -> None:
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query))
        first, _, rest = parts.path.strip("/").partition("/")
        try:
            if not first:
                self._write(200, _DEMO.read_bytes(), "text/html; charset=utf-8")
            elif first == "favicon.ico":
                self._write(204, b"", "image/png")
            elif first == "v1.0":
                self._graph(rest, query, form)
            elif (directory := self.entra.directories.get(first)) is None:
                self._refuse(Refusal("invalid_tenant", "90002", f"Tenant {first} not found."))
            elif (answer := self._routes().get((self.command, rest))) is None:
                self._send(404, {})
            else:
                answer(directory, query, form)
        except Refusal as refusal:
            self._refuse(refusal)

    def _refuse(self, refusal: Refusal) -> None:
        wait = {"Retry-After": str(refusal.retry_after)} if refusal.retry_after else {}
        self._send(refusal.status, refusal.document, **wait)

    def _routes(self) -> dict[tuple[str, str], Callable[..., None]]:
        return {
            ("GET", "v2.0/.well-known/openid-configuration"): self._configuration,
            ("GET", "discovery/v2.0/keys"): self._keys,
            ("GET", "oauth2/v2.0/authorize"): self._ask_who,
            ("POST", "oauth2/v2.0/authorize"): self._signed_in,
            ("POST", "oauth2/v2.0/token"): self._token,
            ("GET", "oauth2/v2.0/logout"): self._logout,
        }

    def _configuration(self, directory: Directory, *_: object) -> None:
        base = f"{directory.base}/{directory.id}"
        document = {
            "issuer": directory.issuer,
            "authorization_endpoint": f"{directory.front}/{directory.id}/oauth2/v2.0/authorize",
            "token_endpoint": f"{base}/oauth2/v2.0/token",
            "jwks_uri": f"{base}/discovery/v2.0/keys",
            "end_session_endpoint": f"{base}/oauth2/v2.0/logout",
            "response_types_supported": ["code"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }
        self._send(200, document)

    def _keys(self, directory: Directory, *_: object) -> None:
        directory.counts["keys"] += 1
        self._send(200, directory.key_set())

    def _ask_who(self, directory: Directory, query: Mapping[str, str], _form: object) -> None:
        application = directory.application_for(query)
        buttons = "".join(
            f'<button name="person" value="{person.id}">{html.escape(person.name)}<br>'
            f"<small>{html.escape(person.email)}</small></button>"
            for person in directory.people.values()
        )
        text = (
            f"{_PAGE}<h1>Who are you?</h1><p><small>This is a stand-in for Entra ID; application"
            f' {application.id}</small></p><form method="post">{buttons}'
            '<button name="person" value="">Cancel</button></form></html>'
        )
        self._write(200, text.encode(), "text/html; charset=utf-8")

    def _signed_in(
        self, directory: Directory, query: Mapping[str, str], form: Mapping[str, str]
    ) -> None:
        directory.application_for(query)
        try:
            answer = {"code": directory.authorize(query, form.get("person", ""))}
        except Refusal as refusal:
            told = refusal.document
            answer = {name: told[name] for name in ("error", "error_description")}
        if "state" in query:
            answer["state"] = query["state"]
        if query.get("response_mode") == "form_post":
            fields = "".join(
                f'<input type="hidden" name="{name}" value="{html.escape(value)}">'
                for name, value in answer.items()
            )
            action = html.escape(query["redirect_uri"])
            text = (
                f'{_PAGE}<form method="post" action="{action}">{fields}<button>Go on</button>'
                "</form><script>document.forms[0].submit()</script></html>"
            )
            self._write(200, text.encode(), "text/html; charset=utf-8")
        else:
            location = f"{query['redirect_uri']}?{urlencode(answer)}"
            self._write(302, b"", "text/plain", Location=location)

    def _token(self, directory: Directory, _query: object, form: Mapping[str, str]) -> None:
        self._send(200, directory.token(form))

    def _logout(self, _directory: Directory, query: Mapping[str, str], _form: object) -> None:
        back = html.escape(query.get("post_logout_redirect_uri", ""))
        text = f'{_PAGE}<h1>Signed out</h1><p><a href="{back}">Back</a></p></html>'
        self._write(200, text.encode(), "text/html; charset=utf-8")

    def _graph(self, path: str, query: Mapping[str, str], form: Mapping[str, str]) -> None:
        _, _, token = self.headers.get("Authorization", "").partition(" ")
        body = json.loads(form[""]) if form.get("") else None
        answer = graph.answer(
            self.entra.directories.values(), self.command, path, query, body, token
        )
        if isinstance(answer.content, bytes):
            self._write(answer.status, answer.content, "image/png")
        else:
            self._send(answer.status, answer.content, **answer.headers)

    def _send(self, status: int, document: object, **headers: str) -> None:
        self._write(status, json.dumps(document).encode(), "application/json", **headers)

    def _write(self, status: int, content: bytes, media_type: str, **headers: str) -> None:
        self.send_response(status)
        told: dict[str, Any] = {"Content-Type": media_type, "Content-Length": str(len(content))}
        for name, value in (told | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
