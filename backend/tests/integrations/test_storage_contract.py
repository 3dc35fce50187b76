"""What every store does, tried on each: a folder, and a bucket of a real S3 server."""

import hashlib
import io
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest

from app.core.errors import BadRequest
from app.integrations.storage import (
    ObjectChanged,
    ObjectMissing,
    Part,
    PartsMissing,
    Storage,
    StoredObject,
)
from tests.integrations.stores import KINDS, ready, send, settings_for

MIB = 1024**2


@pytest.fixture(scope="module", params=KINDS)
def store(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    server_urls: dict[str, str],
) -> Storage:
    folder: Path = tmp_path_factory.mktemp("store")
    return ready(settings_for(request.param, folder, server_urls["s3"]))


@pytest.fixture
def key() -> str:
    return f"tenants/tenant_acme/files/ab/cd/{uuid4().hex}"


def read(store: Storage, key: str) -> bytes:
    with store.open(key) as file:
        return file.read()


@pytest.mark.parametrize("bad", ["", "a", "/etc/passwd", "tenants/../x", "tenants/日本/x", "a//b"])
def test_a_key_is_ours(store: Storage, bad: str) -> None:
    acts: list[Callable[[], object]] = [
        lambda: store.put(bad, [b"x"]),
        lambda: store.open(bad),
        lambda: store.stat(bad),
        lambda: store.delete(bad),
        lambda: store.delete_all(bad),
        lambda: store.sign_put(bad, size=1, expires_in=1),
    ]
    for act in acts:
        with pytest.raises(ValueError, match="not a key of ours"):
            act()


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param([], id="none"),
        pytest.param([b""], id="empty"),
        pytest.param([b"a", b"", b"bc"], id="three"),
        pytest.param([b"x" * 10**6] * 3, id="large"),
        pytest.param([b"y" * 8 * MIB], id="exactly-one-part"),
        pytest.param([b"z" * 99] * 10**5, id="many"),
    ],
)
def test_what_is_put_is_counted_and_hashed(store: Storage, key: str, chunks: list[bytes]) -> None:
    whole = b"".join(chunks)
    stored = store.put(key, iter(chunks))
    assert stored == StoredObject(
        size=len(whole),
        sha256=hashlib.sha256(whole).hexdigest(),
        md5=hashlib.md5(whole).hexdigest(),
    )
    assert store.stat(key).size == len(whole)
    assert read(store, key) == whole


def test_several_parts(store: Storage, key: str) -> None:
    block = os.urandom(MIB)
    stored = store.put(key, (block for _ in range(25)))
    assert stored.sha256 == hashlib.sha256(block * 25).hexdigest()
    assert read(store, key) == block * 25


def test_reading_from_anywhere(store: Storage, key: str) -> None:
    content = bytes(range(256)) * 1000
    store.put(key, [content])
    with store.open(key) as file:
        assert file.seekable()
        assert file.seek(0, io.SEEK_END) == len(content)
        assert file.read() == b""
        for start, size in ((0, 10), (255_990, 100), (100_000, 70_000), (5, 1), (255_999, 1)):
            assert file.seek(start) == start
            assert file.read(size) == content[start : start + size]
        file.seek(-3, io.SEEK_END)
        assert file.read() == content[-3:]


def test_what_is_not_there(store: Storage, key: str) -> None:
    for act in (store.open, store.stat):
        with pytest.raises(ObjectMissing) as raised:
            act(key)
        assert raised.value.status == 404
    with pytest.raises(ObjectMissing):
        store.move(key, key + "0")
    store.delete(key)
    assert store.delete_all(f"tenants/{uuid4().hex}") == 0


def test_deleting(store: Storage, key: str) -> None:
    store.put(key, [b"abc"])
    store.put(key + "0", [b"its neighbour"])
    store.delete(key)
    store.delete(key)
    with pytest.raises(ObjectMissing):
        store.stat(key)
    assert read(store, key + "0") == b"its neighbour"


def test_deleting_a_tenants_objects(store: Storage) -> None:
    doomed, kept = f"tenants/{uuid4().hex}", f"tenants/{uuid4().hex}"
    for number in range(12):
        store.put(f"{doomed}/files/aa/{number}", [b"x"])
    upload = store.create_multipart(f"{doomed}/incoming/half")
    store.put(f"{doomed}0/files/aa/1", [b"of the tenant with the longer name"])
    store.put(f"{kept}/files/aa/1", [b"x"])
    assert store.delete_all(doomed) == 12
    assert store.delete_all(doomed) == 0
    assert read(store, f"{kept}/files/aa/1") == b"x"
    assert store.stat(f"{doomed}0/files/aa/1").size == 34
    with pytest.raises(ObjectMissing):
        store.parts(f"{doomed}/incoming/half", upload)


def test_listing(store: Storage) -> None:
    """In the order of the keys' bytes, which is that of the rows; unfinished ones as well."""
    tenant = f"tenants/{uuid4().hex}"
    assert list(store.keys(tenant)) == []
    finished = [f"{tenant}/files/{name}" for name in ("ab/cd/2", "0f/00/9", "ab/cd/1", "ab/c0/5")]
    for key in finished:
        store.put(key, [b"x"])
    half = f"{tenant}/incoming/half"
    for _ in range(2):
        store.create_multipart(half)
    store.put(f"{tenant}0/files/aa/1", [b"of the tenant with the longer name"])
    assert list(store.keys(tenant)) == [*sorted(finished), half]
    assert list(store.keys(f"{tenant}/files/ab")) == sorted(finished)[1:]
    store.delete(half)
    assert list(store.keys(tenant)) == sorted(finished)


def test_moving(store: Storage, key: str) -> None:
    target = key.replace("/ab/", "/ef/")
    content = os.urandom(100_000)
    store.put(key, [content])
    store.move(key, target, version=store.stat(key).version)
    assert read(store, target) == content
    with pytest.raises(ObjectMissing):
        store.stat(key)
    store.move(key, target)
    assert read(store, target) == content


def test_moving_only_what_was_looked_at(store: Storage, key: str) -> None:
    """Somebody may write to the first key until the last moment."""
    target = key.replace("/ab/", "/ef/")
    store.put(key, [b"looked at"])
    version = store.stat(key).version
    store.put(key, [b"put in its place"])
    with pytest.raises(ObjectChanged) as raised:
        store.move(key, target, version=version)
    assert raised.value.status == 503
    with pytest.raises(ObjectMissing):
        store.stat(target)
    store.put(key, [b"another"])
    with pytest.raises(ObjectChanged):
        store.open(key, version=version)


class BrokenOff(Exception):
    """Whatever the source of the bytes raises."""


@pytest.mark.parametrize("size", [4, 20 * MIB], ids=["small", "in-parts"])
def test_what_breaks_off_never_appears(store: Storage, key: str, size: int) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(4):
            yield b"x" * (size // 4)
        with pytest.raises(ObjectMissing):
            store.stat(key)
        raise BrokenOff

    with pytest.raises(BrokenOff):
        store.put(key, chunks())
    with pytest.raises(ObjectMissing):
        store.stat(key)
    assert store.delete_all(key.rpartition("/")[0] + "/none") == 0
    store.put(key, [b"whole"])
    assert read(store, key) == b"whole"


def test_side_by_side(store: Storage, key: str) -> None:
    keys = [f"{key}{number:x}" for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda one: store.put(one, [one.encode()] * 100), keys, timeout=30))
    assert all(read(store, one) == one.encode() * 100 for one in keys)


# Direct uploads.


def refused(store: Storage, url: str, content: bytes) -> bool:
    try:
        return send(store, url, content) in {400, 403}
    except BadRequest:
        return True


def test_a_signed_put_takes_exactly_what_it_was_signed_for(store: Storage, key: str) -> None:
    url = store.sign_put(key, size=5, expires_in=60)
    for content in (b"", b"1234", b"123456", b"1" * 10**6):
        assert refused(store, url, content)
    with pytest.raises(ObjectMissing):
        store.stat(key)
    assert send(store, url, b"12345") == 200
    assert read(store, key) == b"12345"
    assert send(store, store.sign_put(key, size=0, expires_in=60), b"") == 200
    assert read(store, key) == b""


def test_an_upload_in_parts(store: Storage, key: str) -> None:
    sizes = [5 * MIB, 5 * MIB, 1000]
    contents = [os.urandom(size) for size in sizes]
    upload = store.create_multipart(key)
    assert store.parts(key, upload) == []
    for number in (3, 1, 2):
        url = store.sign_part(key, upload, number=number, size=sizes[number - 1], expires_in=60)
        assert refused(store, url, contents[number - 1] + b"!")
        assert send(store, url, contents[number - 1]) == 200
        assert send(store, url, contents[number - 1]) == 200, "sent again after a lost answer"
    assert store.parts(key, upload) == [Part(n, size) for n, size in enumerate(sizes, start=1)]
    with pytest.raises(ObjectMissing):
        store.stat(key)
    store.complete_multipart(key, upload)
    store.complete_multipart(key, upload)
    assert read(store, key) == b"".join(contents)
    with pytest.raises(ObjectMissing):
        store.parts(key, upload)


def test_an_upload_with_a_gap(store: Storage, key: str) -> None:
    upload = store.create_multipart(key)
    with pytest.raises(PartsMissing):
        store.complete_multipart(key, upload)
    for number in (1, 3):
        url = store.sign_part(key, upload, number=number, size=5 * MIB, expires_in=60)
        assert send(store, url, b"x" * 5 * MIB) == 200
    with pytest.raises(PartsMissing):
        store.complete_multipart(key, upload)
    with pytest.raises(ObjectMissing):
        store.stat(key)
    store.delete(key)
    with pytest.raises(ObjectMissing):
        store.parts(key, upload)


def test_an_aborted_upload(store: Storage, key: str) -> None:
    upload = store.create_multipart(key)
    url = store.sign_part(key, upload, number=1, size=3, expires_in=60)
    assert send(store, url, b"abc") == 200
    store.abort_multipart(key, upload)
    store.abort_multipart(key, upload)
    for act in (store.parts, store.complete_multipart):
        with pytest.raises(ObjectMissing):
            act(key, upload)
