"""Counting and hashing bytes while they pass."""

import hashlib
from collections.abc import Iterable, Iterator
from typing import IO, Final

from app.integrations.storage.contract import StoredObject

_CHUNK: Final = 1024**2


def chunks_of(file: IO[bytes]) -> Iterator[bytes]:
    """What is left of the file, a MiB at a time."""
    while chunk := file.read(_CHUNK):
        yield chunk


class Hashing:
    """SHA-256 is the identity; MD5 is kept for those who compare with it elsewhere."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._size = 0

    def of(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The same chunks."""
        for chunk in chunks:
            self._sha256.update(chunk)
            self._md5.update(chunk)
            self._size += len(chunk)
            yield chunk

    def result(self) -> StoredObject:
        """Of all that has passed so far."""
        return StoredObject(self._size, self._sha256.hexdigest(), self._md5.hexdigest())
