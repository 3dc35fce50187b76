"""Behind a reverse proxy: whose address, which host and which scheme a request has.

X-Forwarded-* is believed of peers in TRUSTED_PROXIES, and of nobody else; whoever reads
``request.remote_addr``, ``request.host`` or ``request.scheme`` gets the answer of this module.
Werkzeug's ProxyFix counts hops instead: it believes whoever reaches the port without a proxy.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Flask

from app.settings import Settings

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_FORWARDED: Final = ("HTTP_X_FORWARDED_", "HTTP_FORWARDED", "HTTP_X_REAL_IP")
_WITH_PORT: Final = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<four>[0-9.]+))(?::[0-9]{1,5})?")
_HOST: Final = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
)


def init_app(app: Flask, settings: Settings) -> None:
    app.wsgi_app = TrustedProxies(app.wsgi_app, settings.trusted_proxies)  # type: ignore[method-assign]


class TrustedProxies:
    """WSGI middleware: what trusted proxies say of the client, as if the client had connected."""

    def __init__(self, app: WSGIApplication, networks: Sequence[Network]) -> None:
        self._app = app
        self._networks = networks
        self._trusts = lru_cache(maxsize=4096)(self._is_trusted)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        told = {name: environ.pop(name) for name in list(environ) if name.startswith(_FORWARDED)}
        peer = parse_address(environ.get("REMOTE_ADDR", ""))
        if peer is not None:
            environ["REMOTE_ADDR"] = _written(peer)
            if self._trusts(peer):
                self._believe(environ, told, peer)
        return self._app(environ, start_response)

    def _believe(self, environ: WSGIEnvironment, told: dict[str, str], peer: Address) -> None:
        environ["REMOTE_ADDR"] = _written(self._client(told.get("HTTP_X_FORWARDED_FOR", ""), peer))
        # The last one is the word of the proxy that we trust.
        host = told.get("HTTP_X_FORWARDED_HOST", "").rpartition(",")[2].strip()
        if _HOST.fullmatch(host):
            environ["HTTP_HOST"] = host
        scheme = told.get("HTTP_X_FORWARDED_PROTO", "").rpartition(",")[2].strip().lower()
        if scheme in {"http", "https"}:
            environ["wsgi.url_scheme"] = scheme

    def _client(self, forwarded_for: str, peer: Address) -> Address:
        """The right-most hop that is none of ours: what lies left of it, anybody may have written.

        Where a hop that we need is no address, the peer's counts.
        """
        client = peer
        for hop in reversed(forwarded_for.split(",") if forwarded_for else ()):
            address = _hop(hop.strip())
            if address is None:
                return peer
            client = address
            if not self._trusts(client):
                break
        return client

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


@lru_cache(maxsize=4096)
def parse_address(text: str) -> Address | None:
    """The address, IPv4 where it is mapped into IPv6 (RFC 4291, 2.5.5.2); None if it is none."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


_written: Final = lru_cache(maxsize=4096)(str)


def _hop(text: str) -> Address | None:
    """Some proxies add the port. A zone (``%eth0``) means nothing on another machine."""
    if "%" in text:
        return None
    match = _WITH_PORT.fullmatch(text)
    return parse_address(match["six"] or match["four"] if match else text)
