"""Whose address a request has, when proxies stand between, and when somebody only says so."""

from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest
from flask import Flask, request

from app.core.http import PUBLIC, endpoint
from app.core.payloads import json_response
from app.core.proxies import parse_address
from app.settings import Settings
from tests.core.apps import another_app

PROXY = "10.0.0.1"
CLIENT = "203.0.113.7"


@endpoint(allow=PUBLIC, transaction=None)
def mirror() -> Any:
    told = [name for name in dict(request.headers) if "forwarded" in name.lower()]
    return json_response(
        {
            "address": request.remote_addr,
            "host": request.host,
            "scheme": request.scheme,
            "told": told,
        }
    )


@pytest.fixture(scope="module")
def behind(settings: Settings) -> Iterator[Flask]:
    networks = tuple(map(ip_network, ("10.0.0.0/8", "192.0.2.1/32", "2001:db8:1::/48")))
    with another_app(settings, trusted_proxies=networks) as app:
        app.add_url_rule("/mirror", "mirror", mirror)
        yield app


@pytest.fixture(scope="module")
def bare(settings: Settings) -> Iterator[Flask]:
    """As it is by default: nobody is trusted."""
    with another_app(settings) as app:
        app.add_url_rule("/mirror", "mirror", mirror)
        yield app


def seen(app: Flask, peer: str, **headers: str) -> dict[str, Any]:
    answer = app.test_client().get(
        "/mirror",
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        environ_base={"REMOTE_ADDR": peer},
    )
    told: dict[str, Any] = answer.get_json()
    return told


SPOOFED = {
    "X_Forwarded_For": "198.51.100.9",
    "X_Forwarded_Host": "evil.example",
    "X_Forwarded_Proto": "https",
    "X_Forwarded_Port": "666",
    "X_Forwarded_Prefix": "/evil",
    "X_Real_IP": "198.51.100.9",
    "Forwarded": "for=198.51.100.9;host=evil.example",
}


@pytest.mark.parametrize("peer", [CLIENT, "127.0.0.1", "::1", PROXY])
def test_nobody_is_believed_by_default(bare: Flask, peer: str) -> None:
    assert seen(bare, peer, **SPOOFED) == {
        "address": peer,
        "host": "localhost",
        "scheme": "http",
        "told": [],
    }


@pytest.mark.parametrize("peer", [CLIENT, "127.0.0.1", "11.0.0.1", "2001:db8:2::1"])
def test_a_peer_that_is_no_proxy_of_ours_is_not_believed(behind: Flask, peer: str) -> None:
    told = seen(behind, peer, **SPOOFED)
    assert (told["address"], told["host"], told["scheme"]) == (peer, "localhost", "http")
    assert told["told"] == []


@pytest.mark.parametrize(
    ("chain", "address"),
    [
        (CLIENT, CLIENT),
        # What a client wrote itself lies left of what the proxy added.
        (f"198.51.100.9, {CLIENT}", CLIENT),
        (f"10.9.9.9, {CLIENT}", CLIENT),
        (f"127.0.0.1,{CLIENT}", CLIENT),
        (f"{CLIENT}, {CLIENT}", CLIENT),
        # Two proxies of ours.
        (f"198.51.100.9, {CLIENT}, 10.3.2.1", CLIENT),
        (f"{CLIENT}, 192.0.2.1, 10.3.2.1", CLIENT),
        (f"{CLIENT}, 2001:db8:1::7", CLIENT),
        # A proxy of somebody else.
        (f"{CLIENT}, 198.51.100.9, 10.3.2.1", "198.51.100.9"),
        # One of us asks.
        ("10.1.1.1", "10.1.1.1"),
        ("10.1.1.1, 10.2.2.2", "10.1.1.1"),
        # Garbage to the left of what we need costs nothing; garbage that we need is none.
        (f"unknown, {CLIENT}", CLIENT),
        (f"<script>, , 999.1.1.1, {CLIENT}", CLIENT),
        (f"{CLIENT}, unknown", PROXY),
        (f"{CLIENT}, unknown, 10.3.2.1", PROXY),
        (f"{CLIENT},", PROXY),
        ("", PROXY),
        (",", PROXY),
        ("unknown", PROXY),
        ("203.0.113.999", PROXY),
        ("203.0.113.7.evil.example", PROXY),
        ("0x7f000001", PROXY),
        ("2130706433", PROXY),
        ("fe80::1%eth0", PROXY),
        ("2001:db8::1%<script>", PROXY),
        ("x" * 5000, PROXY),
        # With a port, as some proxies add it.
        (f"{CLIENT}:52311", CLIENT),
        ("[2001:db8::7]:443", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("2001:DB8:0::7", "2001:db8::7"),
        ("[2001:db8::7", PROXY),
        (f"{CLIENT}:port", PROXY),
        # IPv4 in IPv6's clothes is IPv4.
        (f"::ffff:{CLIENT}", CLIENT),
        (f"{CLIENT}, ::ffff:10.3.2.1", CLIENT),
    ],
)
def test_the_right_most_untrusted_hop_is_the_client(
    behind: Flask, chain: str, address: str
) -> None:
    assert seen(behind, PROXY, X_Forwarded_For=chain)["address"] == address


def test_without_a_chain_the_proxy_itself_asks(behind: Flask) -> None:
    assert seen(behind, PROXY)["address"] == PROXY


@pytest.mark.parametrize("peer", ["::ffff:10.0.0.1", "2001:db8:1::2"])
def test_a_proxy_is_recognised_in_either_family(behind: Flask, peer: str) -> None:
    assert seen(behind, peer, X_Forwarded_For=CLIENT)["address"] == CLIENT


def test_a_peer_without_an_address_is_not_believed(behind: Flask) -> None:
    """A socket of the file system: whoever may open it would be anybody."""
    assert seen(behind, "", X_Forwarded_For=CLIENT)["address"] in {"", None}


@pytest.mark.parametrize(
    ("header", "host"),
    [
        ("app.example.com", "app.example.com"),
        ("app.example.com:8443", "app.example.com:8443"),
        ("[2001:db8::1]:8443", "[2001:db8::1]:8443"),
        ("evil.example, app.example.com", "app.example.com"),
        ("", "localhost"),
        ("app.example.com/path", "localhost"),
        ("app.example.com@evil.example", "localhost"),
        ("evil.example\t", "evil.example"),
        ("<script>", "localhost"),
        ("app.example.com:port", "localhost"),
        ("a" * 300, "localhost"),
    ],
)
def test_the_host_is_the_last_proxys_word(behind: Flask, header: str, host: str) -> None:
    assert seen(behind, PROXY, X_Forwarded_Host=header)["host"] == host


@pytest.mark.parametrize(
    ("header", "scheme"),
    [
        ("https", "https"),
        ("HTTPS", "https"),
        ("https, http", "http"),
        ("javascript", "http"),
        ("", "http"),
    ],
)
def test_so_is_the_scheme(behind: Flask, header: str, scheme: str) -> None:
    assert seen(behind, PROXY, X_Forwarded_Proto=header)["scheme"] == scheme


@pytest.mark.parametrize("text", ["", "x", "1.2.3", "1.2.3.4/32", "01.2.3.4", " 1.2.3.4"])
def test_what_is_no_address(text: str) -> None:
    assert parse_address(text) is None
