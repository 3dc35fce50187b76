"""A customer's server: it keeps what it gets, and answers what it is told to."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from embedded.ports import LOOPBACK, free_port


@dataclass(frozen=True)
class Received:
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """``answers`` are given one after the other, the last of them for ever."""

    url: str
    port: int
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=lambda: [(204, {})])
    received: list[Received] = field(default_factory=list)
    speak: Callable[[Any], None] | None = None

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        self.received.append(Received(request.path, dict(request.headers), body))
        if self.speak is not None:
            self.speak(request)
            return
        status, headers = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        request.send_response(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            request.send_header(name, value)
        request.end_headers()


@contextmanager
def receiver(context: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """Listens on a free port of this machine."""
    port = free_port()
    scheme = "http" if context is None else "https"
    there = Receiver(f"{scheme}://{LOOPBACK}:{port}/hook", port)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            there.answer(self)

        def log_message(self, *_: Any) -> None:
            """Silent."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """Who hangs up is no fault of the server's."""

    with Server((LOOPBACK, port), Handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield there
        finally:
            server.shutdown()
            thread.join()
