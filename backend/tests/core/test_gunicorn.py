"""What only a real server shows: bytes on a wire, broken off, malformed, or too slow."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from flask import Flask

from app.settings import Settings
from tests.cast import House, Person, new_house, new_person
from tests.core.live import running_api
from tests.domains.documents.files import stored
from tests.embedded.processes import wait_for

_SECONDS = 20


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="module")
def live(app: Flask, settings: Settings, logs: Path) -> Iterator[str]:
    with running_api(settings, logs) as url:
        yield url


@pytest.fixture(scope="module")
def person(app: Flask) -> Person:
    with app.app_context():
        return new_person(app, "Alice")


@pytest.fixture(scope="module")
def house(app: Flask, person: Person) -> House:
    with app.app_context():
        return new_house("live", person)


@pytest.fixture(scope="module")
def token(live: str, person: Person) -> str:
    """The server is an issuer of its own: its address is part of its tokens."""
    body = {"email": person.email, "password": "correct horse battery staple"}
    answer = requests.post(f"{live}/api/auth/login", json=body, timeout=_SECONDS)
    return str(answer.json()["access_token"])


def talk(live: str, *pieces: bytes, hang_up: bool = False) -> bytes:
    """All that the server answers to these bytes; with ``hang_up`` nobody waits for it."""
    address = urlsplit(live)
    with closing(socket.create_connection((address.hostname, address.port), _SECONDS)) as wire:
        answer = b""
        with suppress(OSError):  # it may end the connection before we do
            for piece in pieces:
                wire.sendall(piece)
            if hang_up:
                return answer
            wire.shutdown(socket.SHUT_WR)
            while piece := wire.recv(65_536):
                answer += piece
        return answer


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def head(method: str, path: str, *headers: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *headers, "", ""]).encode("latin-1")


JSON = "Content-Type: application/json"
CHUNKED = "Transfer-Encoding: chunked"
GOOD = b'{"email": "alice@example.com", "password": "x"}'


def test_the_control(live: str) -> None:
    body = head("POST", "/api/auth/login", JSON, f"Content-Length: {len(GOOD)}") + GOOD
    assert status(talk(live, body)) == 401
    chunk = f"{len(GOOD):x}\r\n".encode() + GOOD + b"\r\n0\r\n\r\n"
    answer = talk(live, head("POST", "/api/auth/login", JSON, CHUNKED), chunk)
    assert status(answer) == 401
    assert "request_id" in json.loads(answer.partition(b"\r\n\r\n")[2])


@pytest.mark.parametrize(
    "body",
    [b"zz\r\n" + GOOD, b"-5\r\nabcde\r\n0\r\n\r\n", b"5\r\nab", b"5\r\nabcdefgh\r\n0\r\n\r\n", b"",
     b"FFFFFFFFFFFFFFFFFFF\r\nabc", b"5;x\r\nabcde\r\n"],
)  # fmt: skip
def test_chunks_that_are_none(live: str, house: House, token: str, body: bytes) -> None:
    answer = talk(live, head("POST", "/api/auth/login", JSON, CHUNKED), body)
    assert status(answer) == 400, answer
    form = "Content-Type: multipart/form-data; boundary=b"
    who = f"Authorization: Bearer {token}"
    answer = talk(live, head("POST", house.documents, form, CHUNKED, who), body)
    assert status(answer) == 400, answer


@pytest.mark.parametrize(
    "request_head",
    [
        head("GET", "/health", "X-A: \x00"),
        head("GET", "/health", "Content-Length: many"),
        head("GET", "/health", "Content-Length: 1", "Content-Length: 2"),
        head("GET", "/health", "Transfer-Encoding: nonsense"),
        head("GET", "/health", "X-Long: " + "x" * 100_000),
        head("GET", "/" + "x" * 100_000),
        head("GET", "/health", *[f"X-{number}: x" for number in range(1000)]),
        head("GET", "/hea lth"),
        head("GET", "/health", "X A: b"),
        head("GET", "/health", "X-A : b"),
        head("GET", "/health", "X-A: b", " folded"),
        head("GET", "/health", "X-A: b\rX-B: c"),
        head("GET", "/health", "X" * 10_000 + ": b"),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"\x00" * 100 + b"\r\n\r\n",
    ],
    ids=range(16),
)
def test_what_is_no_request(live: str, request_head: bytes) -> None:
    answer = talk(live, request_head)
    assert not answer or 400 <= status(answer) < 500 or status(answer) == 501, answer
    assert b"Traceback" not in answer


def test_a_body_that_is_too_large_is_not_waited_for(
    live: str, house: House, token: str, settings: Settings
) -> None:
    """Neither where its length is told before, nor where it is seen only as it comes."""
    who, form = f"Authorization: Bearer {token}", "Content-Type: multipart/form-data; boundary=b"
    chunks = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    chunks *= settings.max_json_bytes // 0x10000 + 2
    for length, sent in (("Content-Length: 10000000000", b"{"), (CHUNKED, chunks)):
        answer = talk(live, head("POST", "/api/tenants", JSON, length, who), sent)
        assert status(answer) == 413, answer
    length = f"Content-Length: {settings.max_upload_bytes * 2}"
    part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
    answer = talk(live, head("POST", house.documents, form, length, who), part + b"x" * 100_000)
    assert status(answer) == 413, answer


@pytest.mark.parametrize(
    "path", ["/%00", "/api/links/%00", "/api/tenants/%ff", "/\xff", "/./health", "*"]
)
def test_paths_as_they_come(live: str, path: str) -> None:
    assert status(talk(live, head("GET", path))) in {308, 400, 404}


def test_the_server_itself_believes_no_proxy(live: str) -> None:
    """It would refuse a contradiction between headers that it takes for a proxy's."""
    said = ("X-Forwarded-Proto: https", "X-Forwarded-Ssl: off")
    assert status(talk(live, head("GET", "/health", *said))) == 200


@pytest.mark.parametrize(
    "authorization",
    ["Bearer \xff\xfe", "Bearer  ", "Bearer", "Bearer a b c", "Bearer " + "[" * 6000],
)
def test_authorization_as_it_comes(live: str, authorization: str) -> None:
    answer = talk(live, head("GET", "/api/users/me", f"Authorization: {authorization}"))
    assert status(answer) == 401, answer


def test_a_client_that_hangs_up_leaves_nothing(
    live: str, settings: Settings, house: House, token: str
) -> None:
    headers = {"Authorization": f"Bearer {token}"}

    def listed() -> object:
        return requests.get(live + house.documents, headers=headers, timeout=_SECONDS).json()

    before, documents = stored(settings, house), listed()
    opening = head(
        "POST",
        house.documents,
        "Content-Type: multipart/form-data; boundary=b",
        "Content-Length: 10000000",
        f"Authorization: Bearer {token}",
    )
    part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
    for _ in range(4):
        talk(live, opening, part + b"x" * 500_000, hang_up=True)
    assert listed() == documents
    wait_for(lambda: stored(settings, house) == before)


def test_slow_uploads_do_not_stop_the_others(live: str, house: House, token: str) -> None:
    """Nobody's row is locked, and no connection to a database is held, while bytes arrive."""
    address = urlsplit(live)
    opening = head(
        "POST",
        house.documents,
        "Content-Type: multipart/form-data; boundary=b",
        "Content-Length: 1000",
        f"Authorization: Bearer {token}",
    )
    with ExitStack() as wires:
        for _ in range(3):
            wire = socket.create_connection((address.hostname, address.port), _SECONDS)
            wires.enter_context(closing(wire))
            wire.sendall(opening)
        headers = {"Authorization": f"Bearer {token}"}
        for _ in range(5):
            answer = requests.get(live + house.documents, headers=headers, timeout=_SECONDS)
            assert answer.status_code == 200


def test_a_download_in_parts(live: str, house: House, token: str) -> None:
    content = bytes(range(256)) * 4096
    headers = {"Authorization": f"Bearer {token}"}
    files = {"file": ("big.bin", content)}
    made = requests.post(live + house.documents, files=files, headers=headers, timeout=_SECONDS)
    path = f"{live}{house.documents}/{made.json()['id']}/download"
    whole = requests.get(path, headers=headers, timeout=_SECONDS)
    assert whole.content == content
    asked = headers | {"Range": "bytes=1000000-1000009"}
    part = requests.get(path, headers=asked, timeout=_SECONDS)
    assert (part.status_code, part.content) == (206, content[1_000_000:1_000_010])
    first = requests.head(path, headers=headers, timeout=_SECONDS)
    assert (first.status_code, first.headers["Content-Length"]) == (200, str(len(content)))
    for _ in range(20):
        with requests.get(path, headers=headers, timeout=_SECONDS, stream=True) as started:
            next(started.iter_content(10))  # and no more
    assert requests.get(f"{live}/health", timeout=_SECONDS).ok


def test_one_connection_serves_many_requests(live: str, token: str) -> None:
    """A body that was not read may not be taken for the next request."""
    address = urlsplit(live)
    body = b"x" * 100_000
    first = head("POST", "/api/nothing", f"Content-Length: {len(body)}") + body
    second = head("GET", "/health", "Connection: close")
    with closing(socket.create_connection((address.hostname, address.port), _SECONDS)) as wire:
        wire.sendall(first + second)
        answer = b""
        deadline = time.monotonic() + _SECONDS
        while piece := wire.recv(65_536):
            answer += piece
            assert time.monotonic() < deadline
    statuses = [line for line in answer.split(b"\r\n") if b"HTTP/1.1 " in line]
    assert statuses[0].endswith(b"404 NOT FOUND")
    assert all(b" 200 " in line for line in statuses[1:])


def test_the_log_of_all_this_is_json_and_knows_no_surprise(live: str, logs: Path) -> None:
    lines = (logs / "api.log").read_text().splitlines()
    told = [json.loads(line) for line in lines if line.startswith("{")]
    assert all({"time", "level", "message"} <= set(line) for line in told)
    assert not [line for line in told if line["message"] == "unexpected error"]
