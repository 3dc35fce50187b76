"""`Storage` in a folder, with links that this product serves itself."""

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import urlsplit

from itsdangerous import BadSignature, URLSafeSerializer

from app.core import clock, ids
from app.core.errors import BadRequest
from app.integrations.storage.contract import (
    Link,
    LinkInvalid,
    ObjectChanged,
    ObjectMissing,
    ObjectState,
    Part,
    StorageFull,
    StorageUnavailable,
    StoredObject,
    check_sequence,
    checked_key,
)
from app.integrations.storage.hashing import Hashing

# Made by scripts/init_storage.py. Without it the folder is a mount point with nothing mounted.
MARKER: Final = ".tenantry-store"
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_UPLOAD_ID: Final = re.compile(r"^[0-9a-f]{32}\Z")
_BUFFER: Final = 1024**2


@dataclass(frozen=True, slots=True)
class Grant:
    """What the holder of a signed address may PUT: a whole object, or a part of an upload."""

    key: str
    size: int
    upload_id: str = ""
    number: int = 0


class DiskStorage:
    def __init__(self, folder: Path, *, secret_key: str, public_url: str) -> None:
        self._folder = folder
        self._public_url = public_url
        self._host = _host_of(public_url)
        self._links, self._grants = (
            URLSafeSerializer(
                secret_key, salt=salt, signer_kwargs={"digest_method": hashlib.sha256}
            )
            for salt in ("file-link", "file-put")
        )

    def put(self, key: str, chunks: Iterable[bytes]) -> StoredObject:
        with self._writing():
            return self._write(self._path(key), chunks)

    def open(self, key: str, *, version: str | None = None) -> BinaryIO:
        with self._reading():
            file = self._path(key).open("rb")
        if version is not None and _state(os.fstat(file.fileno())).version != version:
            file.close()
            raise ObjectChanged("The stored file was changed just now; try again.")
        return file

    def stat(self, key: str) -> ObjectState:
        with self._reading():
            return _state(self._path(key).stat())

    def move(self, source: str, target: str, *, version: str | None = None) -> None:
        old, new = self._path(source), self._path(target)
        with self._writing():
            if not old.exists():
                self.stat(target)
                return
            new.parent.mkdir(parents=True, exist_ok=True)
            old.replace(new)
            _sync_folder(new.parent)
            # Looked at afterwards: an object is never changed in place, only replaced by another.
            if version is not None and _state(new.stat()).version != version:
                new.unlink()
                raise ObjectChanged("The stored file was changed just now; try again.")

    def delete(self, key: str) -> None:
        path = self._path(key)
        with self._writing():
            path.unlink(missing_ok=True)
            for part in path.parent.glob(f"{path.name}.*part"):
                part.unlink(missing_ok=True)  # of a process that died while it wrote
            for parts in path.parent.glob(f"{path.name}.parts-*"):
                shutil.rmtree(parts)

    def delete_all(self, prefix: str) -> int:
        folder = self._path(prefix)
        with self._writing():
            objects = [path for path in folder.rglob("*") if path.is_file() and not path.suffix]
            if folder.exists():
                shutil.rmtree(folder)
        return len(objects)

    def keys(self, prefix: str) -> Iterator[str]:
        with self._reading():
            yield from _keys(self._path(prefix), prefix)

    def sign(self, link: Link, *, expires_in: int) -> str:
        token = self._links.dumps([*astuple(link), self._host, _in(expires_in)])
        return f"{self._public_url}/api/links/{token}"

    def redeem(self, token: str, *, host: str) -> Link:
        """What the link's token opens at this host.

        Raises:
            LinkInvalid: it is not ours, it is for another host, or its time is over.
        """
        return Link(*self._redeemed(self._links, token, host))

    # Direct uploads.

    def sign_put(self, key: str, *, size: int, expires_in: int) -> str:
        return self._granted(Grant(key, size), expires_in)

    def create_multipart(self, key: str) -> str:
        upload_id = ids.new_id().hex
        with self._writing():
            self._parts_folder(key, upload_id).mkdir(parents=True)
        return upload_id

    def sign_part(
        self, key: str, upload_id: str, *, number: int, size: int, expires_in: int
    ) -> str:
        return self._granted(Grant(key, size, upload_id, number), expires_in)

    def parts(self, key: str, upload_id: str) -> Sequence[Part]:
        with self._reading():
            return sorted(
                (
                    Part(int(path.name), path.stat().st_size)
                    for path in self._parts_folder(key, upload_id).iterdir()
                    if path.name.isdecimal()
                ),
                key=lambda part: part.number,
            )

    def complete_multipart(self, key: str, upload_id: str) -> None:
        folder = self._parts_folder(key, upload_id)
        if not folder.exists():
            self.stat(key)
            return
        parts = self.parts(key, upload_id)
        check_sequence(parts)
        with self._writing():
            self._write(self._path(key), _joined([folder / str(part.number) for part in parts]))
            shutil.rmtree(folder)

    def abort_multipart(self, key: str, upload_id: str) -> None:
        with self._writing(), suppress(FileNotFoundError):
            shutil.rmtree(self._parts_folder(key, upload_id))

    def redeem_grant(self, token: str, *, host: str) -> Grant:
        """What may be PUT with this token at this host. Raises LinkInvalid."""
        return Grant(*self._redeemed(self._grants, token, host))

    def receive(self, grant: Grant, chunks: Iterable[bytes]) -> str:
        """Stores what was granted, whole or not at all; returns its MD5 in hex.

        Raises:
            BadRequest: it is not as many bytes as were granted.
            ObjectMissing: the upload is completed or aborted.
        """
        path = self._path(grant.key)
        with self._writing():
            if grant.number:
                folder = self._parts_folder(grant.key, grant.upload_id)
                if not folder.exists():
                    raise ObjectMissing("This upload is over.")
                path = folder / str(grant.number)
            return self._write(path, _exactly(grant.size, chunks)).md5

    # Inside.

    def _granted(self, grant: Grant, expires_in: int) -> str:
        checked_key(grant.key)
        token = self._grants.dumps([*astuple(grant), self._host, _in(expires_in)])
        return f"{self._public_url}/api/incoming/{token}"

    def _redeemed(self, serializer: URLSafeSerializer, token: str, host: str) -> list[Any]:
        try:
            *content, signed_host, expires_at = serializer.loads(token)
        except (BadSignature, ValueError, TypeError):
            raise LinkInvalid("This link is not valid.") from None
        if signed_host != host.lower():
            raise LinkInvalid(f"This link is for {signed_host}; a proxy passes Host unchanged.")
        if clock.now().timestamp() >= expires_at:
            raise LinkInvalid("This link has expired; ask for a new one.")
        return list(content)

    def _path(self, key: str) -> Path:
        return self._folder / checked_key(key)

    def _parts_folder(self, key: str, upload_id: str) -> Path:
        if not _UPLOAD_ID.match(upload_id):
            raise ValueError(f"not an upload of ours: {upload_id!r}")
        path = self._path(key)
        return path.with_name(f"{path.name}.parts-{upload_id}")

    def _write(self, path: Path, chunks: Iterable[bytes]) -> StoredObject:
        part = path.with_name(f"{path.name}.{ids.new_id().hex}.part")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            stored = _written(part, chunks)
            part.replace(path)
            _sync_folder(path.parent)
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)
        return stored

    @contextmanager
    def _reading(self) -> Iterator[None]:
        self._check_marker()
        try:
            yield
        except FileNotFoundError as error:
            raise ObjectMissing("The stored file is gone.") from error
        except OSError as error:
            raise StorageUnavailable("The file store cannot be read.") from error

    @contextmanager
    def _writing(self) -> Iterator[None]:
        self._check_marker()
        try:
            yield
        except OSError as error:
            if error.errno in _FULL:
                raise StorageFull("There is no room for this file.") from error
            raise StorageUnavailable("The file store cannot be written to.") from error

    def _check_marker(self) -> None:
        try:
            marked = (self._folder / MARKER).is_file()
        except OSError:
            marked = False
        if not marked:
            raise StorageUnavailable("The file store is not mounted, or was never initialised.")


def prepare(folder: Path, *, check: bool) -> list[str]:
    """Makes the folder and its marker, or only checks that they are there; returns what it did.

    Raises:
        StorageUnavailable: the folder cannot be used.
    """
    marker, done = folder / MARKER, []
    try:
        if not check and not marker.is_file():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            marker.write_text("Files of Tenantry. Without this one, the store counts as away.\n")
            _sync_folder(folder)
            done.append(f"{folder} is marked as the file store")
        if not marker.is_file():
            raise StorageUnavailable(f"{folder} is not mounted, or was never initialised.")
        probe = folder / f"{MARKER}-{ids.new_id().hex}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise StorageUnavailable(f"{folder} cannot be used: {error.strerror}.") from error
    return done


def _state(found: os.stat_result) -> ObjectState:
    return ObjectState(found.st_size, f"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}")


def _keys(folder: Path, prefix: str) -> Iterator[str]:
    """One folder's names in memory at a time; what is unfinished has a dot behind its key."""
    try:
        with os.scandir(folder) as entries:
            found = {entry.name: entry.is_dir() for entry in entries}
    except FileNotFoundError:
        return
    folders = {name for name, is_folder in found.items() if is_folder and "." not in name}
    for name in sorted({name.partition(".")[0] for name in found}):
        if name in folders:
            yield from _keys(folder / name, f"{prefix}/{name}")
        else:
            yield f"{prefix}/{name}"


def _in(seconds: int) -> int:
    return int(clock.now().timestamp()) + seconds


def _host_of(url: str) -> str:
    """As a Host header gives it: without the port that the scheme implies."""
    parts = urlsplit(url)
    usual = {"http": ":80", "https": ":443"}[parts.scheme]
    return parts.netloc.lower().removesuffix(usual)


def _exactly(size: int, chunks: Iterable[bytes]) -> Iterator[bytes]:
    received = 0
    for chunk in chunks:
        received += len(chunk)
        if received > size:
            break
        yield chunk
    if received != size:
        raise BadRequest(f"This address takes {size} bytes, neither more nor less.")


def _joined(paths: Iterable[Path]) -> Iterator[bytes]:
    for path in paths:
        with path.open("rb") as file:
            while chunk := file.read(_BUFFER):
                yield chunk


def _written(path: Path, chunks: Iterable[bytes]) -> StoredObject:
    hashing = Hashing()
    with path.open("xb") as file:
        for chunk in hashing.of(chunks):
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return hashing.result()


def _sync_folder(folder: Path) -> None:
    """Makes the rename itself survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
