"""HTTP to addresses that customers choose: to the internet, and never into this network.

A name is resolved once. Where any of its addresses is not one of the public internet, nothing is
sent; else the connection goes to one of these very addresses, so that a second answer of the DNS
changes nothing. No redirect is followed, no proxy of the environment asked, and everything together
has one deadline, however slowly the other side answers.
"""

import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from threading import Timer
from typing import Final
from urllib.parse import urlsplit

import idna
from flask import Flask, current_app

from app.core.background import begun
from app.settings import Settings

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Sequence[str]]

_LONGEST_URL: Final = 2000
# Of an answer; more of it is not looked at.
_READ_BYTES: Final = 4096
_PORTS: Final = {"https": 443, "http": 80}
# RFC 3986's characters, without those that parsers understand in different ways.
_URL: Final = re.compile(
    r"https?://[A-Za-z0-9._:\[\]%-]+(?:[/?][A-Za-z0-9._~:/?@!$&'()*+,;=%-]*)?\Z"
)
_NAME: Final = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\.?)+\Z")
_UNICAST: Final = IPv6Network("2000::/3")
# IPv6 that stands for IPv4, which may be anything: Teredo, 6to4. NAT64 is no part of 2000::/3.
_TUNNELS: Final = (IPv6Network("2001::/32"), IPv6Network("2002::/16"))


class UrlRefused(ValueError):
    """Nothing will ever be sent to this URL; the message says why."""


class NoAnswer(Exception):
    """There is no answer. ``reason`` is one of a few words; the message names no inner address."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Target:
    """Where a URL points to."""

    secure: bool
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = self.port == _PORTS["https" if self.secure else "http"]
        return host if usual else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Answer:
    """``body`` is its beginning."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def system_addresses(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class CustomerHttp:
    """The client; with ``loopback``, this machine and plain http may be reached too."""

    def __init__(
        self,
        *,
        seconds: float,
        loopback: bool,
        resolve: Resolve = system_addresses,
    ) -> None:
        self._seconds, self._loopback, self._resolve = seconds, loopback, resolve

    def require_acceptable(self, url: str) -> None:
        """Raises UrlRefused for what can be seen without asking the DNS."""
        self._target(url)

    def post(self, url: str, *, body: bytes, headers: Mapping[str, str]) -> Answer:
        """The answer, whatever its status.

        Raises:
            NoAnswer: nothing was sent, or no answer came in time.
        """
        deadline = time.monotonic() + self._seconds
        try:
            target = self._target(url)
            with self._connected(target, deadline) as connection:
                sent = {"Host": target.authority, "Connection": "close", **headers}
                connection.request("POST", target.path, body=body, headers=sent)
                with closing(connection.getresponse()) as response:
                    answer = _answer(response)
            _left(deadline)  # what was cut off looks as if it had ended
        except UrlRefused as error:
            raise NoAnswer("address_refused", str(error)) from error
        except (OSError, HTTPException, ValueError) as error:
            raise _explained(error, late=time.monotonic() >= deadline) from error
        return answer

    def _target(self, url: str) -> Target:
        if len(url) > _LONGEST_URL or not _URL.match(url):
            raise UrlRefused("Use an absolute https URL in ASCII, without user and fragment.")
        try:
            parts = urlsplit(url)
            secure = parts.scheme == "https"
            port = parts.port or _PORTS[parts.scheme]
            host = _host(parts.hostname or "")
        except ValueError as error:
            raise UrlRefused("The URL's host or port is none.") from error
        if not all(self._may_reach(each) for each in _literal(host)):
            raise UrlRefused("This address is not one of the public internet.")
        if not secure and not self._loopback:
            raise UrlRefused("Use https: what is sent over http can be read on its way.")
        query = f"?{parts.query}" if parts.query else ""
        return Target(secure, host, port, f"{parts.path or '/'}{query}")

    def _may_reach(self, address: Address) -> bool:
        return is_public(address) or (self._loopback and address.is_loopback)

    def _addresses(self, target: Target, deadline: float) -> list[str]:
        """All of them may be reached."""
        asked = begun(lambda: self._resolve(target.host, target.port), name="resolving")
        try:
            found = list(asked.result(_left(deadline)))
        except (OSError, UnicodeError) as error:
            if isinstance(error, TimeoutError):
                raise
            raise NoAnswer("name_unknown", "The host's name has no address.") from error
        if not found or not all(self._may_reach(ip_address(each)) for each in found):
            raise NoAnswer(
                "address_refused", "The host's address is not one of the public internet."
            )
        return found

    @contextmanager
    def _connected(self, target: Target, deadline: float) -> Iterator[HTTPConnection]:
        plain = _connect(self._addresses(target, deadline), target.port, deadline)
        with closing(plain), _cut_off_at(plain, deadline):
            context = ssl.create_default_context()
            connection = HTTPConnection(target.host, target.port)
            connection.sock = (
                context.wrap_socket(plain, server_hostname=target.host) if target.secure else plain
            )
            with closing(connection):
                yield connection


def _answer(response: HTTPResponse) -> Answer:
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, headers, response.read(_READ_BYTES))


def is_public(address: Address) -> bool:
    """Whether it is one machine's in the public internet, and stands for no other address."""
    if isinstance(address, IPv6Address):
        stands_for_another = any(address in network for network in _TUNNELS)
        return address.is_global and address in _UNICAST and not stands_for_another
    return address.is_global and not (address.is_multicast or address.is_reserved)


def _host(name: str) -> str:
    """In ASCII; an address in its usual form.

    ``2130706433``, ``0x7f.1`` and ``0177.0.0.1`` are 127.0.0.1 to some and names to others.
    """
    name = name.rstrip(".")
    if ":" in name:
        return str(IPv6Address(name))
    if name.rpartition(".")[2][:1].isdigit():
        return str(IPv4Address(name))
    ascii_name = idna.encode(name, uts46=True).decode() if not name.isascii() else name.lower()
    if not _NAME.match(ascii_name):
        raise ValueError("no host name")
    return ascii_name


def _literal(host: str) -> list[Address]:
    """The address where the host is one, and not a name: nobody has to be asked where it is."""
    try:
        return [ip_address(host)]
    except ValueError:
        return []


def _connect(addresses: Sequence[str], port: int, deadline: float) -> socket.socket:
    failure: OSError = OSError("no address")
    for address in addresses:
        try:
            return socket.create_connection((address, port), timeout=_left(deadline))
        except OSError as error:
            failure = error
    raise failure


@contextmanager
def _cut_off_at(plain: socket.socket, deadline: float) -> Iterator[None]:
    """Ends whatever waits for the connection then: a timeout counts anew with each byte."""
    with closing(plain.dup()) as handle:

        def cut() -> None:
            with suppress(OSError):
                handle.shutdown(socket.SHUT_RDWR)

        timer = Timer(_left(deadline), cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()


def _left(deadline: float) -> float:
    """Seconds.

    Raises:
        TimeoutError: none are left.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _explained(error: Exception, *, late: bool) -> NoAnswer:
    if late or isinstance(error, TimeoutError):
        return NoAnswer("timed_out", "No complete answer came in time.")
    if isinstance(error, ssl.SSLError):
        return NoAnswer(
            "tls_failed", f"TLS failed: {error.reason or 'the certificate is refused'}."
        )
    if isinstance(error, OSError):
        return NoAnswer("connection_failed", "The connection was refused or broke off.")
    return NoAnswer("bad_answer", "The answer is no HTTP.")


def create(settings: Settings) -> CustomerHttp:
    return CustomerHttp(
        seconds=settings.webhook_timeout_seconds, loopback=settings.webhook_allow_loopback
    )


def init_app(app: Flask, client: CustomerHttp) -> None:
    app.extensions["customer_http"] = client


def current_customer_http() -> CustomerHttp:
    client: CustomerHttp = current_app.extensions["customer_http"]
    return client
