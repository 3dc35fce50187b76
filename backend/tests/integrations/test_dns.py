"""Questions to a real name server on loopback."""

from collections.abc import Iterator

import pytest

from app.integrations.dns import DnsUnavailable, SystemDns
from tests.integrations.name_server import NameServer, name_server


@pytest.fixture(scope="module")
def server() -> Iterator[NameServer]:
    with name_server() as running:
        yield running


@pytest.fixture
def resolver(server: NameServer) -> SystemDns:
    return SystemDns([server.address], timeout=0.5)


def test_every_record_is_told(server: NameServer, resolver: SystemDns) -> None:
    server.texts["several.example.com"] = [b"one", b"two", b""]
    assert resolver.texts("several.example.com") == {"one", "two", ""}


def test_a_record_of_several_strings_is_one_text(server: NameServer, resolver: SystemDns) -> None:
    server.texts["long.example.com"] = [b"x" * 300]
    assert resolver.texts("long.example.com") == {"x" * 300}


def test_an_answer_too_long_for_udp_comes_over_tcp(server: NameServer, resolver: SystemDns) -> None:
    server.texts["crowded.example.com"] = [bytes([letter]) * 200 for letter in b"abcdef"]
    assert len(resolver.texts("crowded.example.com")) == 6


def test_what_is_not_text_is_no_error(server: NameServer, resolver: SystemDns) -> None:
    server.texts["binary.example.com"] = [b"\xff\x00"]
    assert len(resolver.texts("binary.example.com")) == 1


def test_no_such_name_has_no_records(resolver: SystemDns) -> None:
    assert resolver.texts("nobody.example.com") == frozenset()


def test_nothing_is_remembered(server: NameServer, resolver: SystemDns) -> None:
    assert resolver.texts("changing.example.com") == frozenset()
    server.texts["changing.example.com"] = [b"set"]
    assert resolver.texts("changing.example.com") == {"set"}


def test_a_name_is_not_completed(server: NameServer, resolver: SystemDns) -> None:
    resolver.texts("alone")
    assert server.asked[-1] == "alone"


def test_who_does_not_answer_is_unavailable(server: NameServer, resolver: SystemDns) -> None:
    server.silent.add("silent.example.com")
    server.failing.add("failing.example.com")
    for name in ("silent.example.com", "failing.example.com"):
        with pytest.raises(DnsUnavailable):
            resolver.texts(name)


def test_nobody_listens() -> None:
    with pytest.raises(DnsUnavailable):
        SystemDns(["127.0.0.1:9"], timeout=0.3).texts("example.com")


@pytest.mark.parametrize("server", ["ns.example.com", "1.2.3.4:x", "::1:", "[::1", ""])
def test_a_server_is_an_address(server: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        SystemDns([server], timeout=1)


@pytest.mark.parametrize("server", ["192.0.2.1", "192.0.2.1:5353", "2001:db8::1", "[::1]:5353"])
def test_addresses_of_both_kinds(server: str) -> None:
    SystemDns([server], timeout=1)
