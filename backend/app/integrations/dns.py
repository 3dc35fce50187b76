"""What the DNS says of a name, behind a small `Protocol`; and the system's resolver behind it."""

import ipaddress
from collections.abc import Sequence
from typing import Final, Protocol, cast

import dns.exception
import dns.nameserver
import dns.resolver
from flask import Flask, current_app

from app.core.errors import Unavailable

_PORT: Final = 53


class DnsUnavailable(Unavailable):
    """No name server answers, or those of the domain fail."""

    code = "dns_unavailable"
    retry_after = 30


class Dns(Protocol):
    """Questions to the DNS."""

    def texts(self, name: str) -> frozenset[str]:
        """The TXT records of a name in ASCII; none where there is no such name.

        Raises:
            DnsUnavailable: nobody can say just now.
        """
        ...


class SystemDns:
    """`Dns` by recursive resolvers: those given, ``address`` or ``address:port``, or the system's.

    A new resolver for each question: a change of /etc/resolv.conf counts, and nothing is cached
    here, since who asks again has just changed the record.
    """

    def __init__(self, servers: Sequence[str] = (), *, timeout: float) -> None:
        self._servers = [_name_server(server) for server in servers]
        self._timeout = timeout

    def texts(self, name: str) -> frozenset[str]:
        try:
            answer = self._resolver().resolve(f"{name}.", "TXT", search=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return frozenset()
        except (dns.exception.DNSException, OSError) as error:
            raise DnsUnavailable("The domain's DNS does not answer; try again later.") from error
        # RFC 7208, section 3.3: the strings of one record are one text.
        return frozenset(b"".join(record.strings).decode("ascii", "replace") for record in answer)

    def _resolver(self) -> dns.resolver.Resolver:
        resolver = dns.resolver.Resolver(configure=not self._servers)
        if self._servers:
            resolver.nameservers = self._servers
        resolver.lifetime = self._timeout
        resolver.timeout = self._timeout / 2  # of one try: a lost packet is sent again
        return resolver


def init_app(app: Flask, resolver: Dns) -> None:
    app.extensions["dns"] = resolver


def current_dns() -> Dns:
    return cast("Dns", current_app.extensions["dns"])


def _name_server(server: str) -> dns.nameserver.Nameserver:
    """Of ``192.0.2.1``, ``192.0.2.1:5353``, ``2001:db8::1`` or ``[2001:db8::1]:5353``."""
    address, port = server, ""
    if server.startswith("[") or server.count(":") == 1:
        address, _, port = server.rpartition(":")
    plain = str(ipaddress.ip_address(address.strip("[]")))
    return dns.nameserver.Do53Nameserver(plain, int(port or _PORT))
