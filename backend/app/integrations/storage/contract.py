"""What a store of files is, whichever it is: its objects, its errors, and its `Protocol`."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final, Protocol

from app.core.errors import BadRequest, Forbidden, InsufficientStorage, NotFound, Unavailable

# S3's own limits (Amazon S3, "multipart upload limits"): every part but the last has 5 MiB or more.
MOST_PARTS: Final = 10_000
SMALLEST_PART: Final = 5 * 1024**2

_KEY: Final = re.compile(r"^[a-z0-9_]+(?:/[a-z0-9_-]+)+\Z")


class StorageUnavailable(Unavailable):
    """The file store does not answer, or cannot be read or written."""

    code = "storage_unavailable"


class StorageFull(InsufficientStorage):
    """The file store has no room for the file."""

    code = "storage_full"


class ObjectMissing(NotFound):
    """The store answers, and has no such object."""

    code = "stored_file_missing"


class ObjectChanged(StorageUnavailable):
    """The object is not the version that was asked for; what was done with it is void."""

    code = "stored_file_changed"


class PartsMissing(BadRequest):
    """A multipart upload has no parts, or one between its parts is missing."""

    code = "parts_missing"


class LinkInvalid(Forbidden):
    """The link was changed, has expired, or was never made for this address.

    Ask for a new link.
    """

    code = "link_invalid"


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What arrived in the store: counted and hashed there, not as a client says. Digests in hex."""

    size: int
    sha256: str
    md5: str


@dataclass(frozen=True, slots=True)
class ObjectState:
    """``version`` changes whenever the object is written."""

    size: int
    version: str


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a multipart upload that arrived; parts are counted from 1."""

    number: int
    size: int


@dataclass(frozen=True, slots=True)
class Link:
    """What a signed link opens. ``inline`` is a wish, granted to a few harmless types.

    ``subject`` is told again to whoever serves the link; a store that serves it itself drops it.
    """

    key: str
    name: str
    content_type: str
    inline: bool = False
    subject: str = ""


class Storage(Protocol):
    """A store of immutable objects; a key is made by us and never of a user's text.

    Every method raises `StorageUnavailable` within bounded time where the store does not answer,
    and `StorageFull` where it has no room; signing makes no call to the store.
    """

    def put(self, key: str, chunks: Iterable[bytes]) -> StoredObject:
        """Stores what the chunks hold, in bounded memory; it appears whole or not at all."""
        ...

    def open(self, key: str, *, version: str | None = None) -> BinaryIO:
        """The object's bytes, seekable; the reader gets one version from beginning to end.

        Raises:
            ObjectMissing: there is no such object.
            ObjectChanged: it is not this version.
        """
        ...

    def stat(self, key: str) -> ObjectState:
        """Raises ObjectMissing."""
        ...

    def move(self, source: str, target: str, *, version: str | None = None) -> None:
        """Gives the object another key, inside the store; the target appears whole.

        May be repeated: a source that is gone is no error where the target is there.

        Raises:
            ObjectMissing: there is neither.
            ObjectChanged: the source is not this version.
        """
        ...

    def delete(self, key: str) -> None:
        """Deletes the object, if it is there, and what unfinished writes to its key have left."""
        ...

    def delete_all(self, prefix: str) -> int:
        """Deletes every object and unfinished upload below ``prefix/``; returns how many."""
        ...

    def keys(self, prefix: str) -> Iterator[str]:
        """The keys below ``prefix/`` in the order of their bytes; of unfinished objects as well."""
        ...

    def sign(self, link: Link, *, expires_in: int) -> str:
        """An address that opens the object for anybody, for ``expires_in`` seconds."""
        ...

    def sign_put(self, key: str, *, size: int, expires_in: int) -> str:
        """An address to which anybody may PUT exactly ``size`` bytes as this object."""
        ...

    def create_multipart(self, key: str) -> str:
        """Begins an upload in parts; returns its id."""
        ...

    def sign_part(
        self, key: str, upload_id: str, *, number: int, size: int, expires_in: int
    ) -> str:
        """An address to which anybody may PUT exactly ``size`` bytes as this part."""
        ...

    def parts(self, key: str, upload_id: str) -> Sequence[Part]:
        """The parts that arrived, by number.

        Raises:
            ObjectMissing: the upload is completed, aborted, or was never begun.
        """
        ...

    def complete_multipart(self, key: str, upload_id: str) -> None:
        """Joins the parts that arrived. May be repeated.

        Raises:
            PartsMissing: there are none, or not all up to the last.
            ObjectMissing: there is neither such an upload nor the object.
        """
        ...

    def abort_multipart(self, key: str, upload_id: str) -> None:
        """Forgets the upload and its parts; one that is gone already is no error."""
        ...


def checked_key(key: str) -> str:
    if not _KEY.match(key):
        raise ValueError(f"not a key of ours: {key!r}")
    return key


def check_sequence(parts: Sequence[Part]) -> None:
    """Raises PartsMissing unless they are numbered from 1 without a gap."""
    if not parts or [part.number for part in parts] != list(range(1, len(parts) + 1)):
        raise PartsMissing("Parts of this upload are missing; send them, then complete it.")
