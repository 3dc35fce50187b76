"""The disk store: what is special to a folder, and links that cannot be made up."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.core.errors import NotFound
from app.integrations.storage import (
    DiskStorage,
    Link,
    LinkInvalid,
    StorageFull,
    StorageUnavailable,
    disk,
)

KEY = "tenants/tenant_acme/files/ab/cd/0123456789abcdef"
HOST = "api.example.com"
SECRET = "a secret key of more than 32 characters"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "files"


@pytest.fixture
def storage(folder: Path) -> DiskStorage:
    disk.prepare(folder, check=False)
    return DiskStorage(folder, secret_key=SECRET, public_url="https://api.example.com")


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.name != disk.MARKER]


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
    (folder / "tenants").write_bytes(b"in the way")
    for act in (
        lambda: storage.put(KEY, [b"x"]),
        lambda: storage.open(KEY),
        lambda: storage.delete(KEY),
    ):
        with pytest.raises(StorageUnavailable) as raised:
            act()
        assert raised.value.status == 503
        assert str(folder) not in raised.value.detail


LINK = Link(KEY, 'plans "日本".txt', "text/plain")


def token_of(url: str) -> str:
    start = "https://api.example.com/api/links/"
    assert url.startswith(start)
    return url.removeprefix(start)


def test_a_link_opens_what_it_was_signed_for(storage: DiskStorage, folder: Path) -> None:
    token = token_of(storage.sign(LINK, expires_in=60))
    assert storage.redeem(token, host=HOST) == LINK
    assert "/" not in token
    other = DiskStorage(folder, secret_key=SECRET[::-1], public_url="https://api.example.com")
    with pytest.raises(LinkInvalid):
        other.redeem(token, host=HOST)


def test_signing_does_not_look_for_the_object(storage: DiskStorage) -> None:
    """It makes no call, whatever the store: following the link finds that there is nothing."""
    assert storage.redeem(token_of(storage.sign(LINK, expires_in=1)), host=HOST) == LINK


@pytest.mark.parametrize("seconds", [0, -1, -(10**9)])
def test_a_link_whose_time_is_over(storage: DiskStorage, seconds: int) -> None:
    with pytest.raises(LinkInvalid, match="expired"):
        storage.redeem(token_of(storage.sign(LINK, expires_in=seconds)), host=HOST)


@pytest.mark.parametrize("token", ["", ".", "日本", "a.b", "\x00", "A" * 100_000, ".eJw.x"])
def test_a_token_that_is_none(storage: DiskStorage, token: str) -> None:
    with pytest.raises(LinkInvalid):
        storage.redeem(token, host=HOST)


def test_a_link_is_for_the_host_that_it_was_signed_for(folder: Path) -> None:
    for public_url, host in (
        ("https://api.example.com", "api.example.com"),
        ("https://API.example.com:443", "api.example.com"),
        ("http://localhost:4999", "localhost:4999"),
        ("http://[::1]:80", "[::1]"),
    ):
        storage = DiskStorage(folder, secret_key=SECRET, public_url=public_url)
        token = storage.sign(LINK, expires_in=60).rpartition("/")[2]
        assert storage.redeem(token, host=host.upper()) == LINK
        for other in ("", "example.com", f"{host}:8080", f"{host}.evil.example"):
            with pytest.raises(LinkInvalid, match="Host"):
                storage.redeem(token, host=other)


def test_a_grant_is_no_link_and_a_link_no_grant(storage: DiskStorage) -> None:
    grant = storage.sign_put(KEY, size=1, expires_in=60).rpartition("/")[2]
    link = storage.sign(LINK, expires_in=60).rpartition("/")[2]
    with pytest.raises(LinkInvalid):
        storage.redeem(grant, host=HOST)
    with pytest.raises(LinkInvalid):
        storage.redeem_grant(link, host=HOST)


def test_a_folder_without_its_marker_is_away(storage: DiskStorage, folder: Path) -> None:
    storage.put(KEY, [b"kept"])
    (folder / disk.MARKER).unlink()
    for act in (
        lambda: storage.put(KEY, [b"x"]),
        lambda: storage.open(KEY),
        lambda: storage.stat(KEY),
        lambda: storage.delete(KEY),
        lambda: storage.delete_all("tenants/tenant_acme"),
    ):
        with pytest.raises(StorageUnavailable) as raised:
            act()
        assert raised.value.retry_after is not None
    disk.prepare(folder, check=False)
    assert read(storage, KEY) == b"kept"
