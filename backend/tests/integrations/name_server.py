"""A DNS server on loopback that says what a test wants, over UDP and TCP."""

import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

from embedded.ports import LOOPBACK, free_port


@dataclass
class NameServer:
    """``texts`` are the TXT records by name; of a name in ``failing`` it says SERVFAIL.

    An answer over UDP that is longer than 512 bytes is cut (RFC 1035, section 4.2.1).
    """

    address: str = ""
    texts: dict[str, list[bytes]] = field(default_factory=dict)
    failing: set[str] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    def answer(self, wire: bytes, *, over_udp: bool) -> bytes | None:
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        self.asked.append(name)
        if name in self.silent:
            return None
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        if name in self.failing:
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif name in self.texts:
            records = [_quoted(text) for text in self.texts[name]]
            answer.answer.append(dns.rrset.from_text(question.name, 1, "IN", "TXT", *records))
        else:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        if over_udp and len(answer.to_wire()) > 512:
            answer.answer.clear()
            answer.flags |= dns.flags.TC
        return answer.to_wire()


def _quoted(text: bytes) -> str:
    """One record of strings of 255 bytes."""
    strings = [text[start : start + 255] for start in range(0, len(text), 255)] or [b""]
    return " ".join('"' + "".join(f"\\{byte:03d}" for byte in each) + '"' for each in strings)


@contextmanager
def name_server() -> Iterator[NameServer]:
    made = NameServer()

    class OverUdp(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            wire, socket = self.request
            if (answer := made.answer(wire, over_udp=True)) is not None:
                socket.sendto(answer, self.client_address)

    class OverTcp(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            (length,) = struct.unpack("!H", self.rfile.read(2))
            answer = made.answer(self.rfile.read(length), over_udp=False) or b""
            self.wfile.write(struct.pack("!H", len(answer)) + answer)

    with ExitStack() as stack:
        port = free_port()
        udp = stack.enter_context(socketserver.ThreadingUDPServer((LOOPBACK, port), OverUdp))
        tcp = stack.enter_context(socketserver.ThreadingTCPServer((LOOPBACK, port), OverTcp))
        for server in (udp, tcp):
            stack.callback(_serving(server).join)
            stack.callback(server.shutdown)
        made.address = f"{LOOPBACK}:{port}"
        yield made


def _serving(server: Any) -> threading.Thread:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    return thread
