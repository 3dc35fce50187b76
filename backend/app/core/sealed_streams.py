"""Long streams at rest: AES-256-GCM in chunks, so that any length takes one chunk of memory.

Each stream has a key of its own, derived (HKDF, RFC 5869) from one of the master keys, a random
salt, and its context: a stream that was moved to another place does not open there. A nonce is the
chunk's number and whether it is the last, as in STREAM (Hoang, Reyhanitabar, Rogaway and Vizár,
2015): chunks that are changed, swapped, repeated or cut off at the end are noticed.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app.core.errors import Conflict

_MAGIC: Final = b"TNTYSEA1"
_NAME_BYTES: Final = 8
_SALT_BYTES: Final = 32
_HEADER_BYTES: Final = len(_MAGIC) + _NAME_BYTES + _SALT_BYTES
_CHUNK: Final = 1024**2
_TAG_BYTES: Final = 16
KEY_BYTES: Final = 32


class StreamUnreadable(Conflict):
    """Sealed bytes were changed, cut off, moved from elsewhere, or are no sealed bytes at all.

    Use another backup.
    """

    code = "sealed_bytes_damaged"


class KeyMissing(Conflict):
    """Sealed bytes were sealed with a key that this process does not have.

    Add the key to BACKUP_KEYS.
    """

    code = "sealing_key_missing"


class Vault:
    """Seals with the first key; opens with any, so that keys can be rotated."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = {_name_of(key): key for key in keys}
        self._first = keys[0]

    def seal(self, chunks: Iterable[bytes], *, context: str) -> Iterator[bytes]:
        salt = os.urandom(_SALT_BYTES)
        header = _MAGIC + _name_of(self._first) + salt
        cipher = _cipher(self._first, salt, context)
        yield header
        number, waiting = 0, b""
        for piece in _even(chunks):
            if number or waiting:
                yield cipher.encrypt(_nonce(number - 1, last=False), waiting, header)
            number, waiting = number + 1, piece
        yield cipher.encrypt(_nonce(max(number - 1, 0), last=True), waiting, header)

    def open(self, sealed: BinaryIO, *, context: str) -> Iterator[bytes]:
        """The plain bytes; whoever uses them before the end may use a part of a damaged stream.

        Raises:
            StreamUnreadable: they are not what was sealed for this context.
            KeyMissing: none of the keys sealed them.
        """
        header = _read(sealed, _HEADER_BYTES)
        if len(header) != _HEADER_BYTES or not header.startswith(_MAGIC):
            raise StreamUnreadable("These are no sealed bytes.")
        name, salt = header[len(_MAGIC) : -_SALT_BYTES], header[-_SALT_BYTES:]
        if name not in self._keys:
            raise KeyMissing(f"BACKUP_KEYS lacks the key {name.hex()} that this was sealed with.")
        cipher = _cipher(self._keys[name], salt, context)
        number, piece = 0, _read(sealed, _CHUNK + _TAG_BYTES)
        while True:
            following = _read(sealed, _CHUNK + _TAG_BYTES)
            try:
                plain = cipher.decrypt(_nonce(number, last=not following), piece, header)
            except InvalidTag:
                raise StreamUnreadable("Sealed bytes were changed, cut off or moved.") from None
            yield plain
            if not following:
                return
            number, piece = number + 1, following


def _cipher(key: bytes, salt: bytes, context: str) -> AESGCM:
    return AESGCM(HKDF(SHA256(), KEY_BYTES, salt, context.encode()).derive(key))


def _name_of(key: bytes) -> bytes:
    return hashlib.sha256(b"tenantry key name" + key).digest()[:_NAME_BYTES]


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11) + bytes([last])


def _even(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of one chunk; the last is shorter."""
    held = bytearray()
    for chunk in chunks:
        held += chunk
        while len(held) >= _CHUNK:
            yield bytes(held[:_CHUNK])
            del held[:_CHUNK]
    if held:
        yield bytes(held)


def _read(file: BinaryIO, size: int) -> bytes:
    """As many bytes, or what is left."""
    parts: list[bytes] = []
    while size and (part := file.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
