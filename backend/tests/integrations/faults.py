"""A TCP proxy that breaks what passes through it, in front of a server that is well."""

import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum

from embedded.ports import LOOPBACK, free_port

_CHUNK = 16 * 1024
_BETWEEN_BYTES = 0.2
_LOOK_EVERY = 0.05
_LINGER_AND_RESET = struct.pack("ii", 1, 0)
_ERROR = (
    b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: text/plain\r\n"
    b"Content-Length: 4\r\nConnection: close\r\n\r\nno.\n"
)
_END_OF_HEAD = b"\r\n\r\n"


class Fault(Enum):
    NONE = "none"
    ERROR = "answers 500 whatever is asked"
    REFUSE = "resets every connection"
    RESET_SENT = "resets after some bytes of a request"
    RESET_RECEIVED = "resets after some bytes of an answer"
    SILENT = "takes everything and answers nothing"
    HELD = "holds back what comes, also over connections that are there, until it is mended"
    SLOW = "passes everything on, a while later"
    NARROW = "passes so many bytes a second"
    TRICKLE = "sends an answer byte by byte, from some byte on"
    CHANGE_SENT = "changes a byte of each request's body"
    CHANGE_RECEIVED = "changes a byte of each answer's body"


@dataclass
class FaultProxy:
    """``passes`` is how many bytes pass before a reset, or before a trickle, or in a second.

    ``delay`` is how many seconds a slow way takes.
    """

    upstream: tuple[str, int]
    fault: Fault = Fault.NONE
    passes: int = 40_000
    delay: float = 0.05
    seen: int = 0
    port: int = field(default_factory=free_port)
    _open: set[socket.socket] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._listener = socket.create_server((LOOPBACK, self.port), backlog=1024)

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.seen += 1
                self._open.add(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def hang_up(self) -> None:
        """On everybody, so that connections that were kept meet the new fault."""
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.fault = Fault.NONE
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            if self.fault is Fault.REFUSE:
                _reset(client)
            elif self.fault is Fault.ERROR:
                self._drain(client, _ERROR)
            elif self.fault is Fault.SILENT:
                self._drain(client, b"")
            else:
                self._pass_on(client)
        self._open.discard(client)

    def _drain(self, client: socket.socket, answer: bytes) -> None:
        head = b""
        while _END_OF_HEAD not in head:
            if not (chunk := client.recv(_CHUNK)):
                return
            head += chunk
        client.sendall(answer)
        while client.recv(_CHUNK):
            pass

    def _pass_on(self, client: socket.socket) -> None:
        """In one thread: a socket that another one reads is not reset by closing it."""
        with socket.create_connection(self.upstream) as server:
            self._open.add(server)
            ways = {
                client: _Way(server, Fault.RESET_SENT, Fault.CHANGE_SENT),
                server: _Way(client, Fault.RESET_RECEIVED, Fault.CHANGE_RECEIVED),
            }
            while True:
                for source in select.select(list(ways), [], [])[0]:
                    way = ways[source]
                    if not (chunk := source.recv(_CHUNK)):
                        return
                    self._take_time(len(chunk))
                    way.passed += len(chunk)
                    if self.fault is way.resets and way.passed > self.passes:
                        _reset(client)
                        _reset(server)
                        return
                    if self.fault is Fault.TRICKLE and source is server:
                        self._trickle(client, chunk, swift=self.passes - way.passed + len(chunk))
                        continue
                    way.target.sendall(way.changed(chunk) if self.fault is way.changes else chunk)

    def _take_time(self, size: int) -> None:
        while self.fault is Fault.HELD:
            time.sleep(_LOOK_EVERY)
        if self.fault is Fault.SLOW:
            time.sleep(self.delay)
        elif self.fault is Fault.NARROW:
            time.sleep(size / self.passes)

    def _trickle(self, client: socket.socket, chunk: bytes, *, swift: int) -> None:
        swift = max(swift, 0)
        client.sendall(chunk[:swift])
        for byte in chunk[swift:]:
            if self.fault is not Fault.TRICKLE:
                break
            client.sendall(bytes([byte]))
            time.sleep(_BETWEEN_BYTES)


@dataclass
class _Way:
    """One direction of a connection."""

    target: socket.socket
    resets: Fault
    changes: Fault
    passed: int = 0
    in_body: bool = False

    def changed(self, chunk: bytes) -> bytes:
        """The last byte becomes another, once the head is over."""
        body = chunk if self.in_body else chunk.partition(_END_OF_HEAD)[2]
        self.in_body = self.in_body or _END_OF_HEAD in chunk
        return chunk[:-1] + bytes([chunk[-1] ^ 1]) if body else chunk


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_AND_RESET)
    connection.close()


@contextmanager
def faulty(host: str, port: int) -> Iterator[FaultProxy]:
    proxy = FaultProxy((host, port))
    thread = threading.Thread(target=proxy.accept, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.close()
        thread.join(5)
