"""Receiving bytes: in bounded memory, whole or not at all."""

import gc
import hashlib
import tracemalloc
from collections.abc import Iterable, Iterator
from io import RawIOBase
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select
from werkzeug.test import TestResponse

from app.domains.documents.models import File
from app.settings import Settings
from app.tenancy.manager import current_manager
from tests.cast import Cast, House, Person, new_house, new_person
from tests.core.answers import refusal
from tests.core.apps import another_app, elsewhere
from tests.domains.documents.files import send, stored, upload

MIB = 1024**2
HEAD = (
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="big.bin"\r\n'
    b"Content-Type: application/octet-stream\r\n\r\n"
)
TAIL = b"\r\n--b--\r\n"
FORM = "multipart/form-data; boundary=b"


class Generated(RawIOBase):
    """A body that is made while it is read, like one that comes over a wire."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        super().__init__()
        self._parts = iter(parts)
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = next(self._parts, b"")
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


class WireBroken(ConnectionResetError):
    """The client went away."""


def send_stream(
    person: Person, house: House, parts: Iterable[bytes], length: int | None
) -> TestResponse:
    """``length`` is Content-Length; without it the body ends where the stream does (chunked)."""
    announced = (
        {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
        if length is None
        else {"CONTENT_LENGTH": str(length)}
    )
    wire = {"wsgi.input": Generated(parts), "CONTENT_TYPE": FORM}
    return person.post(house.documents, environ_overrides=wire | announced)


def document_names(person: Person, house: House) -> list[str]:
    items = person.get(house.documents).get_json()["items"]
    return [document["name"] for document in items]


@pytest.fixture(scope="module")
def owner(app: Flask) -> Person:
    with app.app_context():
        return new_person(app, "Alice")


@pytest.fixture
def house(context: Flask, owner: Person) -> House:
    return new_house("uploads", owner)


def test_mallory_makes_us_read_nothing(cast: Cast) -> None:
    untouched = iter([HEAD])
    refusal(send_stream(cast.mallory, cast.acme, untouched, 10**9), 404)
    refusal(send_stream(cast.bob, cast.acme, untouched, 10**9), 403)
    assert next(untouched) == HEAD


def test_two_hundred_megabytes_pass_in_a_few(
    settings: Settings, owner: Person, house: House
) -> None:
    block, count = bytes(range(256)) * 1024, 800
    size = len(block) * count
    parts = (HEAD, *[block] * count, TAIL)
    gc.collect()
    tracemalloc.start()
    try:
        answer = send_stream(owner, house, parts, len(HEAD) + size + len(TAIL))
        upload_peak = tracemalloc.get_traced_memory()[1]
        assert answer.status_code == 201, answer.text
        path = f"{house.documents}/{answer.get_json()['id']}/download"
        tracemalloc.reset_peak()
        digest = hashlib.sha256()
        with owner.app.test_client().get(path, headers=owner.headers) as download:
            for chunk in download.iter_encoded():
                digest.update(chunk)
        download_peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert answer.get_json()["size"] == size
    assert answer.get_json()["digest"] == f"sha256:{digest.hexdigest()}"
    assert upload_peak < 8 * MIB
    assert download_peak < 8 * MIB
    (path_of_file,) = stored(settings, house)
    path_of_file.unlink()


def test_a_body_of_unknown_length(owner: Person, house: House) -> None:
    answer = send_stream(owner, house, [HEAD, b"x" * 100_000, TAIL], None)
    assert answer.status_code == 201, answer.text
    assert answer.get_json()["size"] == 100_000


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7])
def test_a_body_in_small_pieces(owner: Person, house: House, size: int) -> None:
    content = b"\r\n--a\r\n-b\r-\n--\r\n-- b\r\r\n\n--" * 20 + b"\r\n--"
    body = HEAD + content + TAIL
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    answer = send_stream(owner, house, pieces, len(body))
    document = answer.get_json()
    assert answer.status_code == 201, answer.text
    stored_bytes = owner.get(f"{house.documents}/{document['id']}/download").data
    assert stored_bytes == content


def test_a_boundary_that_is_cut_wherever_it_may(owner: Person, house: House) -> None:
    """The body is read in pieces of 64 KiB; each time another byte of its end is the first."""
    for cut in range(len(TAIL) + 1):
        content = b"x" * (64 * 1024 - len(HEAD) - cut)
        answer = send_stream(owner, house, [HEAD + content + TAIL], None)
        assert answer.get_json()["digest"] == f"sha256:{hashlib.sha256(content).hexdigest()}"


def broken(error: Exception) -> Iterator[bytes]:
    yield HEAD + b"x" * 100_000
    raise error


@pytest.mark.parametrize("error", [WireBroken(), OSError("bad chunk"), TimeoutError()])
def test_a_wire_that_breaks(
    settings: Settings, owner: Person, house: House, error: Exception
) -> None:
    refusal(send_stream(owner, house, broken(error), 10**6), 400, "bad_request")
    refusal(send_stream(owner, house, broken(error), None), 400, "bad_request")
    assert document_names(owner, house) == []
    assert stored(settings, house) == set()


def test_every_body_that_is_cut_short(settings: Settings, owner: Person, house: House) -> None:
    body = HEAD + b"plans" + TAIL
    whole = len(body) - len(b"\r\n")  # what follows the last boundary does not matter
    for length in [*range(0, whole, 5), whole - 1]:
        for announced in (len(body), None):
            answer = send_stream(owner, house, [body[:length]], announced)
            refusal(answer, 400, "bad_request")
    assert document_names(owner, house) == []
    assert stored(settings, house) == set()


@pytest.mark.parametrize("announced", [True, False])
def test_a_file_that_is_too_large(
    *, settings: Settings, owner: Person, house: House, announced: bool
) -> None:
    with another_app(settings, max_upload_bytes=100_000) as small:
        there = elsewhere(owner, small)
        assert send(there, house, b"x" * 100_000, "largest").status_code == 201
        before = stored(settings, house)
        refusal(send(there, house, b"x" * 100_001), 413, "payload_too_large")
        parts = [HEAD, *[b"x" * 65_536] * 100, TAIL]
        length = sum(map(len, parts)) if announced else None
        refusal(send_stream(there, house, parts, length), 413, "payload_too_large")
    assert document_names(owner, house) == ["largest"]
    assert stored(settings, house) == before


def test_a_store_that_is_away(settings: Settings, owner: Person, house: House) -> None:
    upload(owner, house)
    folder = settings.storage_path / "tenants" / house.database / "files"
    folder.rename(folder.with_name("aside"))
    folder.write_bytes(b"a file where the store's folder should be")
    try:
        refusal(send(owner, house, b"other plans"), 503, "storage_unavailable")
        assert document_names(owner, house) == ["plans.txt"]
    finally:
        folder.unlink()
        folder.with_name("aside").rename(folder)
    waiting = {path for path in stored(settings, house) if path.parent.name == "incoming"}
    assert len(waiting) == 1, "for the sweep"
    assert len(stored(settings, house) - waiting) == 1
    assert send(owner, house, b"other plans", name="again").status_code == 201


def test_a_store_that_is_not_mounted(settings: Settings, owner: Person, house: House) -> None:
    """An empty folder in its place is no empty store: nothing is gone, and nothing goes into it."""
    document = f"{house.documents}/{upload(owner, house)['id']}"
    folder = settings.storage_path
    folder.rename(folder.with_name("elsewhere"))
    folder.mkdir()
    try:
        for refused in (send(owner, house), owner.get(document + "/download")):
            refusal(refused, 503, "storage_unavailable")
            assert refused.headers["Retry-After"]
        assert owner.get(document).status_code == 200
        assert list(folder.iterdir()) == []
    finally:
        folder.rmdir()
        folder.with_name("elsewhere").rename(folder)
    assert owner.get(document + "/download").data == b"plans"


def test_a_row_is_there_before_the_first_byte(context: Flask, owner: Person, house: House) -> None:
    def states() -> list[str]:
        with current_manager().tenant_db_session(house.database) as session:
            return list(session.scalars(select(File.state)))

    seen: list[list[str]] = []

    def parts() -> Iterator[bytes]:
        yield HEAD
        yield b"x" * 200_000
        seen.append(states())
        assert document_names(owner, house) == []
        yield TAIL

    assert send_stream(owner, house, parts(), None).status_code == 201
    assert seen == [["pending"]]
    assert states() == ["available"]
