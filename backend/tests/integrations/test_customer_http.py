"""Requests to customers' URLs reach the internet and nothing inside, whatever the DNS says."""

import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.core import clock
from app.integrations.customer_http import CustomerHttp, NoAnswer, UrlRefused, is_public
from embedded.ports import LOOPBACK, free_port
from tests.domains.webhooks.receivers import Receiver, receiver

INSIDE = [
    *("127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254"),
    *("100.64.0.1", "0.0.0.0", "255.255.255.255", "224.0.1.1", "192.0.2.1", "198.18.0.1"),
    *("240.0.0.1", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fec0::1", "ff02::1"),
    *("::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::1"),
    *("2001:0:7f00:1::1", "2001:db8::1", "64:ff9b:1::1"),
]


@pytest.fixture
def there() -> Iterator[Receiver]:
    with receiver() as there:
        yield there


def client(resolved: Sequence[str] | None = None, **options: Any) -> CustomerHttp:
    given: dict[str, Any] = {"seconds": 10.0, "loopback": False} | options
    if resolved is not None:
        given["resolve"] = lambda _host, _port: resolved
    return CustomerHttp(**given)


def reason(made: CustomerHttp, url: str) -> str:
    with pytest.raises(NoAnswer) as caught:
        made.post(url, body=b"{}", headers={})
    return caught.value.reason


@pytest.mark.parametrize("address", INSIDE)
def test_addresses_inside_are_refused(address: str) -> None:
    assert not is_public(ip_address(address))
    assert reason(client([address]), "https://hooks.example.com/") == "address_refused"


def test_one_inner_address_among_public_ones_is_enough() -> None:
    assert reason(client(["8.8.8.8", "10.0.0.1"]), "https://x.example/") == "address_refused"
    assert reason(client([]), "https://x.example/") == "address_refused"


def test_addresses_of_the_internet_may_be_reached() -> None:
    """The control."""
    assert all(is_public(ip_address(each)) for each in ("8.8.8.8", "2606:4700::1111"))


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/",
        "https://2130706433/",
        "https://0177.0.0.1/",
        "https://0x7f.1/",
        "https://127.1/",
        "https://[::1]/",
        "https://[::ffff:7f00:1]/",
        "https://[fe80::1%25eth0]/",
        "https://169.254.169.254/latest/meta-data/",
        "http://hooks.example.com/",
        "ftp://hooks.example.com/",
        "//hooks.example.com/",
        "https://",
        "https:///path",
        "https://user:secret@hooks.example.com/",
        "https://hooks.example.com/#part",
        "https://hooks.example.com:99999/",
        "https://hooks.example.com:0x50/",
        "https://hooks.example.com\\@127.0.0.1/",
        "https://hooks.example.com/a b",
        "https://hooks.example.com/\r\nHost: inside",
        "https://hooks..example.com/",
        "https://-hooks.example.com/",
        "https://hööks.example.com/",
        "https://hooks.example.com/" + "a" * 2000,
    ],
)
def test_urls_that_are_refused_unseen(url: str) -> None:
    with pytest.raises(UrlRefused):
        client().require_acceptable(url)
    assert reason(client(["8.8.8.8"]), url) == "address_refused"


def test_urls_that_are_accepted() -> None:
    for url in (
        "https://hooks.example.com",
        "https://h.example:8443/a?b=c%20d",
        "https://8.8.8.8/",
    ):
        client().require_acceptable(url)


def test_the_system_understands_what_we_refuse() -> None:
    """The control: without the check, these forms would be loopback."""
    for form in ("2130706433", "0177.0.0.1", "0x7f.1", "127.1"):
        assert socket.getaddrinfo(form, 80)[0][4][0] == LOOPBACK


def test_loopback_needs_the_setting(there: Receiver) -> None:
    assert reason(client(), there.url.replace("http", "https", 1)) == "address_refused"
    assert there.received == []
    answer = client(loopback=True).post(there.url, body=b"{}", headers={"X-Given": "yes"})
    assert answer.status == 204
    assert there.received[0].headers["Host"] == f"{LOOPBACK}:{there.port}"
    assert there.received[0].headers["X-Given"] == "yes"
    assert reason(client(["10.0.0.1"], loopback=True), "http://x.example/") == "address_refused"
    assert reason(client(["::ffff:127.0.0.1"], loopback=True), there.url) == "address_refused"


def test_a_name_is_resolved_once_and_its_first_answer_counts(there: Receiver) -> None:
    """A name that points inside the second time it is asked for gains nothing."""
    asked = []

    def rebinding(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return [LOOPBACK] if len(asked) == 1 else ["10.0.0.1"]

    url = there.url.replace(LOOPBACK, "rebinding.example")
    made = client(loopback=True, resolve=rebinding)
    assert made.post(url, body=b"{}", headers={}).status == 204
    assert asked == [("rebinding.example", there.port)]
    assert there.received[0].headers["Host"] == f"rebinding.example:{there.port}"
    assert reason(made, url) == "address_refused"  # asked again at each attempt


def test_redirects_are_not_followed(there: Receiver) -> None:
    there.answers = [(307, {"Location": there.url + "/inside"})]
    answer = client(loopback=True).post(there.url, body=b"{}", headers={})
    assert (answer.status, len(there.received)) == (307, 1)


def test_no_proxy_of_the_environment_is_asked(
    there: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://{LOOPBACK}:{free_port()}")
    assert client(loopback=True).post(there.url, body=b"{}", headers={}).status == 204


def _trickle(request: Any, *, body: bool) -> None:
    """A byte now and then, for ever: each would renew a timeout of the socket."""
    start = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n" + (b"\r\n" if body else b"X-Slow: ")
    request.wfile.write(start)
    while True:
        request.wfile.write(b"x")
        request.wfile.flush()
        time.sleep(0.02)


@pytest.mark.parametrize("body", [True, False])
def test_the_deadline_holds_against_bytes_that_trickle(there: Receiver, *, body: bool) -> None:
    there.speak = lambda request: _trickle(request, body=body)
    assert reason(client(loopback=True, seconds=0.3), there.url) == "timed_out"


def test_the_deadline_holds_where_nobody_speaks_tls() -> None:
    """A server that sends a first byte of TLS and then no more."""
    with socket.create_server((LOOPBACK, free_port())) as server:
        port, held = server.getsockname()[1], []

        def accept() -> None:
            connection, _ = server.accept()
            held.append(connection)
            connection.sendall(b"\x16")

        thread = threading.Thread(target=accept)
        thread.start()
        told = reason(client(loopback=True, seconds=0.3), f"https://{LOOPBACK}:{port}/")
        thread.join()
        held[0].close()
    assert told == "timed_out"


def test_the_deadline_holds_where_the_dns_is_silent() -> None:
    over = threading.Event()

    def silent(_host: str, _port: int) -> list[str]:
        over.wait(30)
        return []

    try:
        assert reason(client(resolve=silent, seconds=0.2), "https://x.example/") == "timed_out"
    finally:
        over.set()


def test_a_large_answer_is_not_read(there: Receiver) -> None:
    def speak(request: Any) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n" + b"x" * 10**6)

    there.speak = speak
    answer = client(loopback=True).post(there.url, body=b"{}", headers={})
    assert (answer.status, len(answer.body)) == (200, 4096)


def test_what_is_no_http(there: Receiver) -> None:
    there.speak = lambda request: request.wfile.write(b"220 smtp.example.com ready\r\n")
    assert reason(client(loopback=True), there.url) == "bad_answer"
    assert reason(client(loopback=True), f"http://{LOOPBACK}:{free_port()}") == "connection_failed"


def _gives_up(*_: object) -> list[str]:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def test_a_name_that_does_not_exist() -> None:
    assert reason(client(resolve=_gives_up), "https://x.example/") == "name_unknown"


def test_certificates_are_verified_for_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TLS to the address, for the name: with SNI, and refused for another name."""
    certificate = tmp_path / "certificate.pem"
    certificate.write_bytes(_self_signed("hooks.example.com"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    named: list[str | None] = []
    context.set_servername_callback(lambda _socket, name, _context: named.append(name))
    with receiver(context) as there:
        made = client([LOOPBACK], loopback=True)
        url = f"https://hooks.example.com:{there.port}/"
        assert reason(made, url) == "tls_failed"  # nobody knows who signed it
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert made.post(url, body=b"{}", headers={}).status == 204
        assert reason(made, f"https://other.example.com:{there.port}/") == "tls_failed"
    assert named == ["hooks.example.com", "hooks.example.com", "other.example.com"]
    assert len(there.received) == 1


def _self_signed(name: str) -> bytes:
    """Key and certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(clock.now() - timedelta(days=1))
        .not_valid_after(clock.now() + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return private + made.public_bytes(serialization.Encoding.PEM)


def test_sockets_are_closed(there: Receiver) -> None:
    """Each attempt leaves as many open files as it found."""
    before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0
    for _ in range(5):
        client(loopback=True).post(there.url, body=b"{}", headers={})
    if before:
        assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1
    with closing(socket.create_connection((LOOPBACK, there.port))):
        pass
