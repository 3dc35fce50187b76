"""Where files' bytes lie, behind a small `Protocol`; and the disk store behind it."""

import hashlib
import os
import re
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Protocol, cast

from flask import Flask, current_app
from itsdangerous import BadSignature, URLSafeSerializer

from app.core import clock
from app.core.errors import InsufficientStorage, NotFound, Unavailable

_KEY: Final = re.compile(r"^[a-z0-9_]+(?:/[a-z0-9_-]+)+\Z")
_ENOSPC: Final = 28


class StorageUnavailable(Unavailable):
    code = "storage_unavailable"


class StorageFull(InsufficientStorage):
    code = "storage_full"


class LinkInvalid(NotFound):
    """The link was changed, has expired, or was never made."""

    code = "link_invalid"


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What arrived in the store: counted and hashed there, not as a client says. Digests in hex."""

    size: int
    sha256: str
    md5: str


@dataclass(frozen=True, slots=True)
class Link:
    """What a signed link opens."""

    key: str
    name: str
    content_type: str


class Storage(Protocol):
    """A store of immutable objects; a key is made by us and never of a user's text."""

    def put(self, key: str, chunks: Iterable[bytes]) -> StoredObject:
        """Stores what the chunks hold; the object appears whole or not at all.

        Raises:
            StorageFull, StorageUnavailable: nothing is stored.
        """
        ...

    def open(self, key: str) -> BinaryIO:
        """The object's bytes, seekable.

        Raises:
            NotFound: there is no such object.
        """
        ...

    def delete(self, key: str) -> None:
        """Deletes the object; one that is gone already is no error."""
        ...

    def delete_all(self, prefix: str) -> int:
        """Deletes every object below ``prefix/``; returns how many."""
        ...

    def sign(self, link: Link, *, expires_in: int) -> str:
        """An address that opens the object for anybody, for ``expires_in`` seconds."""
        ...


class DiskStorage:
    """`Storage` in a folder, with links that this product serves itself."""

    def __init__(self, folder: Path, *, secret_key: str, public_url: str) -> None:
        self._folder = folder
        self._public_url = public_url
        self._links = URLSafeSerializer(
            secret_key, salt="file-link", signer_kwargs={"digest_method": hashlib.sha256}
        )

    def put(self, key: str, chunks: Iterable[bytes]) -> StoredObject:
        path = self._path(key)
        part = _part_of(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stored = _write(part, chunks)
            part.replace(path)
            _sync_folder(path.parent)
        except OSError as error:
            if error.errno == _ENOSPC:
                raise StorageFull("There is no room for this file.") from error
            raise StorageUnavailable("The file store cannot be written to.") from error
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)
        return stored

    def open(self, key: str) -> BinaryIO:
        try:
            return self._path(key).open("rb")
        except FileNotFoundError as error:
            raise NotFound("The stored file is gone.") from error
        except OSError as error:
            raise StorageUnavailable("The file store cannot be read.") from error

    def delete(self, key: str) -> None:
        path = self._path(key)
        try:
            path.unlink(missing_ok=True)
            _part_of(path).unlink(missing_ok=True)  # of a process that died while it wrote
        except OSError as error:
            raise StorageUnavailable("The file store cannot be written to.") from error

    def delete_all(self, prefix: str) -> int:
        folder = self._path(prefix)
        try:
            count = sum(path.is_file() for path in folder.rglob("*"))
            shutil.rmtree(folder)
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise StorageUnavailable("The file store cannot be written to.") from error
        return count

    def sign(self, link: Link, *, expires_in: int) -> str:
        expires_at = int(clock.now().timestamp()) + expires_in
        token = self._links.dumps([link.key, link.name, link.content_type, expires_at])
        return f"{self._public_url}/api/links/{token}"

    def redeem(self, token: str) -> Link:
        """What the link's token opens.

        Raises:
            LinkInvalid: it is not ours, or its time is over.
        """
        try:
            key, name, content_type, expires_at = self._links.loads(token)
        except (BadSignature, ValueError, TypeError):
            raise LinkInvalid("This link is not valid.") from None
        if clock.now().timestamp() >= expires_at:
            raise LinkInvalid("This link has expired; ask for a new one.")
        return Link(key, name, content_type)

    def _path(self, key: str) -> Path:
        if not _KEY.match(key):
            raise ValueError(f"not a key of ours: {key!r}")
        return self._folder / key


def _part_of(path: Path) -> Path:
    return path.with_suffix(".part")


def _write(path: Path, chunks: Iterable[bytes]) -> StoredObject:
    sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    with path.open("xb") as file:
        for chunk in chunks:
            sha256.update(chunk)
            md5.update(chunk)
            size += len(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return StoredObject(size, sha256.hexdigest(), md5.hexdigest())


def _sync_folder(folder: Path) -> None:
    """Makes the rename itself survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def init_app(app: Flask, storage: Storage) -> None:
    app.extensions["storage"] = storage


def current_storage() -> Storage:
    return cast("Storage", current_app.extensions["storage"])
