"""The store of files: whole objects or none, and links that cannot be made up."""

import errno
import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.core.errors import NotFound
from app.integrations.storage import (
    DiskStorage,
    Link,
    LinkInvalid,
    StorageFull,
    StorageUnavailable,
    StoredObject,
)

KEY = "tenants/tenant_acme/files/ab/cd/0123456789abcdef"
SECRET = "a secret key of more than 32 characters"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "files"


@pytest.fixture
def storage(folder: Path) -> DiskStorage:
    return DiskStorage(folder, secret_key=SECRET, public_url="https://api.example.com")


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def read(storage: DiskStorage, key: str) -> bytes:
    with storage.open(key) as file:
        return file.read()


@pytest.mark.parametrize(
    "key",
    ["", "a", "/etc/passwd", "../outside/x", "tenants/../../x", "tenants/./x", "tenants//x",
     "tenants/a/../b", "tenants/A/x", "tenants/x\n", "tenants/x\x00", "tenants/日本/x",
     "tenants/x.part", "tenants/x/", "-a/b", "tenants\\x"],
)  # fmt: skip
def test_a_key_is_ours_and_leaves_the_folder_by_no_way(storage: DiskStorage, key: str) -> None:
    with pytest.raises(ValueError, match="not a key of ours"):
        storage.put(key, [b"x"])
    with pytest.raises(ValueError, match="not a key of ours"):
        storage.open(key)
    with pytest.raises(ValueError, match="not a key of ours"):
        storage.delete(key)


@pytest.mark.parametrize("chunks", [[], [b""], [b"abc"], [b"a", b"", b"bc"], [b"x" * 10**6] * 3])
def test_what_is_put_is_counted_and_hashed_there(storage: DiskStorage, chunks: list[bytes]) -> None:
    whole = b"".join(chunks)
    stored = storage.put(KEY, iter(chunks))
    assert stored == StoredObject(
        size=len(whole),
        sha256=hashlib.sha256(whole).hexdigest(),
        md5=hashlib.md5(whole).hexdigest(),
    )
    assert read(storage, KEY) == whole


def test_an_object_that_is_not_there(storage: DiskStorage) -> None:
    with pytest.raises(NotFound):
        storage.open(KEY)
    storage.delete(KEY)
    storage.delete(KEY)


def test_a_deleted_object_is_gone(storage: DiskStorage, folder: Path) -> None:
    storage.put(KEY, [b"abc"])
    storage.delete(KEY)
    with pytest.raises(NotFound):
        storage.open(KEY)
    assert files(folder) == []


def test_who_reads_while_it_is_deleted_reads_on(storage: DiskStorage) -> None:
    storage.put(KEY, [b"abc"])
    with storage.open(KEY) as file:
        storage.delete(KEY)
        assert file.read() == b"abc"


class BrokenOff(Exception):
    """Whatever the source of the bytes raises."""


@pytest.mark.parametrize("error", [BrokenOff(), KeyboardInterrupt()])
def test_an_object_that_breaks_off_never_appears(
    storage: DiskStorage, folder: Path, error: BaseException
) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"half"
        with pytest.raises(NotFound):
            storage.open(KEY)
        raise error

    with pytest.raises(type(error)):
        storage.put(KEY, chunks())
    assert files(folder) == []
    storage.put(KEY, [b"whole"])
    assert read(storage, KEY) == b"whole"


def test_a_full_disk(storage: DiskStorage, folder: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"half"
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(StorageFull) as raised:
        storage.put(KEY, chunks())
    assert raised.value.status == 507
    assert files(folder) == []


def test_a_folder_that_is_none(storage: DiskStorage, folder: Path) -> None:
    folder.write_bytes(b"in the way")
    for act in (
        lambda: storage.put(KEY, [b"x"]),
        lambda: storage.open(KEY),
        lambda: storage.delete(KEY),
    ):
        with pytest.raises(StorageUnavailable) as raised:
            act()
        assert raised.value.status == 503
        assert str(folder) not in raised.value.detail


def test_objects_side_by_side(storage: DiskStorage, folder: Path) -> None:
    keys = [f"tenants/tenant_acme/files/aa/bb/{number:016x}" for number in range(32)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: storage.put(key, [key.encode()] * 100), keys, timeout=30))
    assert all(read(storage, key) == key.encode() * 100 for key in keys)
    assert len(files(folder)) == 32


LINK = Link(KEY, 'plans "日本".txt', "text/plain")


def token_of(url: str) -> str:
    start = "https://api.example.com/api/links/"
    assert url.startswith(start)
    return url.removeprefix(start)


def test_a_link_opens_what_it_was_signed_for(storage: DiskStorage, folder: Path) -> None:
    token = token_of(storage.sign(LINK, expires_in=60))
    assert storage.redeem(token) == LINK
    assert "/" not in token
    other = DiskStorage(folder, secret_key=SECRET[::-1], public_url="https://api.example.com")
    with pytest.raises(LinkInvalid):
        other.redeem(token)


def test_signing_does_not_look_for_the_object(storage: DiskStorage) -> None:
    """It makes no call, whatever the store: following the link finds that there is nothing."""
    assert storage.redeem(token_of(storage.sign(LINK, expires_in=1))) == LINK


@pytest.mark.parametrize("seconds", [0, -1, -(10**9)])
def test_a_link_whose_time_is_over(storage: DiskStorage, seconds: int) -> None:
    with pytest.raises(LinkInvalid, match="expired"):
        storage.redeem(token_of(storage.sign(LINK, expires_in=seconds)))


@pytest.mark.parametrize("token", ["", ".", "日本", "a.b", "\x00", "A" * 100_000, ".eJw.x"])
def test_a_token_that_is_none(storage: DiskStorage, token: str) -> None:
    with pytest.raises(LinkInvalid):
        storage.redeem(token)
