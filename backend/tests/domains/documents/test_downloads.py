"""Reading the bytes: whole, in parts, conditionally (RFC 9110)."""

import os
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from app.settings import Settings
from tests.cast import Cast
from tests.core.answers import refusal
from tests.domains.documents.files import stored, upload

CONTENT = bytes(range(256)) * 16


@pytest.fixture(scope="module")
def document(cast: Cast) -> dict[str, Any]:
    return upload(cast.alice, cast.acme, CONTENT, "bytes.bin", "application/x-bytes")


@pytest.fixture(scope="module")
def path(cast: Cast, document: dict[str, Any]) -> str:
    return f"{cast.acme.documents}/{document['id']}/download"


@pytest.fixture(scope="module")
def link(cast: Cast, path: str) -> str:
    url: str = cast.alice.get(path + "-url").get_json()["url"]
    return "/api/links/" + url.rpartition("/")[2]


def test_mallory_gets_no_byte(cast: Cast, path: str) -> None:
    for headers in ({}, {"Range": "bytes=0-3"}, {"If-None-Match": "*"}):
        refusal(cast.mallory.get(path, headers=headers), 404, "not_found")


def test_bob_gets_them_all(cast: Cast, path: str, document: dict[str, Any]) -> None:
    answer = cast.bob.get(path)
    assert answer.status_code == 200
    assert answer.data == CONTENT
    assert answer.headers["Content-Length"] == str(len(CONTENT))
    assert answer.headers["Content-Type"] == "application/x-bytes"
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["ETag"] == f'"{sha256(CONTENT).hexdigest()}"'
    assert document["digest"].endswith(answer.headers["ETag"].strip('"'))


@pytest.mark.parametrize("way", ["path", "link"])
@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=0-99", 0, 99),
        ("bytes=100-199", 100, 199),
        ("bytes=4000-", 4000, 4095),
        ("bytes=-10", 4086, 4095),
        ("bytes=0-99999999999999999999", 0, 4095),
        ("bytes=4095-4095", 4095, 4095),
    ],
)
def test_a_part(
    *, cast: Cast, request: pytest.FixtureRequest, way: str, asked: str, first: int, last: int
) -> None:
    answer = cast.bob.get(request.getfixturevalue(way), headers={"Range": asked})
    assert answer.status_code == 206
    assert answer.data == CONTENT[first : last + 1]
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(CONTENT)}"
    assert answer.headers["Content-Length"] == str(last + 1 - first)


@pytest.mark.parametrize("way", ["path", "link"])
@pytest.mark.parametrize("asked", ["bytes=4096-", "bytes=9999-10000"])
def test_a_part_that_is_not_there(
    cast: Cast, request: pytest.FixtureRequest, way: str, asked: str
) -> None:
    answer = cast.bob.get(request.getfixturevalue(way), headers={"Range": asked})
    refusal(answer, 416, "range_not_satisfiable")
    assert answer.headers["Content-Range"] == f"bytes */{len(CONTENT)}"


@pytest.mark.parametrize("way", ["path", "link"])
@pytest.mark.parametrize(
    "asked",
    ["", "bytes", "bytes=", "bytes=a-b", "bytes=5-1", "lines=1-2", "bytes=0-1,5-6", "bytes=-9999"],
)
def test_any_other_range_gets_the_whole(
    cast: Cast, request: pytest.FixtureRequest, way: str, asked: str
) -> None:
    """RFC 9110, section 14.2: what is not understood is ignored."""
    answer = cast.bob.get(request.getfixturevalue(way), headers={"Range": asked})
    assert (answer.status_code, answer.data) == (200, CONTENT)


def test_an_empty_file_has_no_part(cast: Cast) -> None:
    made = upload(cast.alice, cast.acme, b"")
    path = f"{cast.acme.documents}/{made['id']}/download"
    for asked in ("bytes=0-", "bytes=-5"):
        answer = cast.bob.get(path, headers={"Range": asked})
        assert (answer.status_code, answer.data) == (200, b"")


@pytest.mark.parametrize("way", ["path", "link"])
def test_head_tells_all_but_the_bytes(cast: Cast, request: pytest.FixtureRequest, way: str) -> None:
    path = request.getfixturevalue(way)
    head, get = cast.bob.send("HEAD", path), cast.bob.get(path)
    assert (head.status_code, head.data) == (200, b"")
    changing = {"X-Request-Id", "Date"}
    assert {name: value for name, value in head.headers if name not in changing} == {
        name: value for name, value in get.headers if name not in changing
    }


@pytest.mark.parametrize("tags", ["{}", "W/{}", '"other", {}', "*"])
def test_what_the_client_has_is_not_sent_again(cast: Cast, path: str, tags: str) -> None:
    tag = cast.bob.get(path).headers["ETag"]
    answer = cast.bob.get(path, headers={"If-None-Match": tags.format(tag)})
    assert (answer.status_code, answer.data) == (304, b"")
    assert answer.headers["ETag"] == tag


def test_what_the_client_has_not_is_sent(cast: Cast, path: str) -> None:
    answer = cast.bob.get(path, headers={"If-None-Match": '"other"'})
    assert (answer.status_code, answer.data) == (200, CONTENT)


def test_a_part_of_another_version_is_not_sent(cast: Cast, path: str) -> None:
    tag = cast.bob.get(path).headers["ETag"]
    part = {"Range": "bytes=0-9"}
    assert cast.bob.get(path, headers=part | {"If-Range": tag}).status_code == 206
    assert cast.bob.get(path, headers=part | {"If-Range": '"other"'}).data == CONTENT


def test_if_match(cast: Cast, path: str) -> None:
    tag = cast.bob.get(path).headers["ETag"]
    assert cast.bob.get(path, headers={"If-Match": tag}).data == CONTENT
    refusal(cast.bob.get(path, headers={"If-Match": '"other"'}), 412, "precondition_failed")


def test_a_part_at_the_end_is_not_read_from_the_beginning(cast: Cast) -> None:
    """Also where the server brings a file wrapper of its own, as gunicorn does."""
    made = upload(cast.alice, cast.acme, bytes(8 * 1024**2))
    path = f"{cast.acme.documents}/{made['id']}/download"
    wrapper = {"wsgi.file_wrapper": import_module("gunicorn.http.wsgi").FileWrapper}
    before = bytes_read()
    answer = cast.bob.get(path, headers={"Range": "bytes=-10"}, environ_overrides=wrapper)
    assert (answer.status_code, answer.data) == (206, bytes(10))
    assert bytes_read() - before < 1024**2
    assert cast.bob.get(path, environ_overrides=wrapper).data == bytes(8 * 1024**2)


def bytes_read() -> int:
    """By this process, from files and sockets."""
    figures = Path("/proc/self/io")
    if not figures.exists():
        pytest.skip("this system does not count what a process reads")
    return int(figures.read_text().split()[1])


def test_bytes_that_the_store_lost_are_told_and_logged(
    cast: Cast, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    before = stored(settings, cast.acme)
    made = upload(cast.alice, cast.acme, os.urandom(64))
    (file,) = stored(settings, cast.acme) - before
    file.unlink()
    for way in ("/download", "/versions/1/download"):
        caplog.clear()
        path = f"{cast.acme.documents}/{made['id']}{way}"
        refusal(cast.alice.get(path), 500, "bytes_missing")
        (told,) = [each for each in caplog.records if each.levelname == "ERROR"]
        assert told.getMessage() == "a stored object is missing"
        assert vars(told)["key"].endswith(file.name)
