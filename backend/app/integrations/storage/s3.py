"""`Storage` in a bucket of a store that speaks S3."""

import base64
import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from heapq import merge
from itertools import chain, count, groupby
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

from app.core.errors import AppError
from app.integrations.storage.contract import (
    MOST_PARTS,
    Link,
    ObjectChanged,
    ObjectMissing,
    ObjectState,
    Part,
    StorageUnavailable,
    StoredObject,
    check_sequence,
    checked_key,
)
from app.integrations.storage.hashing import Hashing
from app.integrations.storage.presentation import disposition
from app.integrations.storage.vendor import connect, our_errors
from app.settings import Settings

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

_PART: Final = 8 * 1024**2
# Copied in one request: above, the store's own work would outlast any sensible timeout. (The
# limit of CopyObject itself is 5 GiB.)
_COPY_AT_ONCE: Final = 256 * 1024**2
# The store's own work on large objects: copying, joining parts.
_WORK_SECONDS: Final = 120


class S3Storage:
    """One client for I/O at S3_ENDPOINT_URL, and one that only signs for S3_PUBLIC_URL.

    A signature covers the Host header, so an address cannot be rewritten after it was signed.
    """

    def __init__(self, settings: Settings) -> None:
        self._bucket = settings.s3_bucket
        self._store = connect(settings, settings.s3_endpoint_url)
        self._worker = connect(settings, settings.s3_endpoint_url, read_seconds=_WORK_SECONDS)
        self._signer = connect(settings, settings.s3_public_url or settings.s3_endpoint_url)
        self._part_size = max(_PART, -(-settings.max_upload_bytes // MOST_PARTS))

    def put(self, key: str, chunks: Iterable[bytes]) -> StoredObject:
        hashing = Hashing()
        pieces = _pieces(hashing.of(chunks), self._part_size)
        first = next(pieces, b"")
        if len(first) < self._part_size:
            with our_errors():
                self._store.put_object(**self._at(key), Body=first, ContentMD5=_md5(first))
        else:
            self._put_parts(key, chain((first,), pieces))
        return hashing.result()

    def open(self, key: str, *, version: str | None = None) -> BinaryIO:
        state = self.stat(key)
        if version is not None and state.version != version:
            raise ObjectChanged("The stored file was changed just now; try again.")

        def fetch(start: int) -> "StreamingBody":
            wanted = self._at(key) | ({"Range": f"bytes={start}-"} if start else {})
            return self._store.get_object(**wanted, IfMatch=state.version)["Body"]

        return cast("BinaryIO", _Reader(fetch, state.size))

    def stat(self, key: str) -> ObjectState:
        try:
            with our_errors():
                found = self._store.head_object(**self._at(key))
        except ObjectMissing:
            self._check_bucket()
            raise
        return ObjectState(found["ContentLength"], found["ETag"])

    def move(self, source: str, target: str, *, version: str | None = None) -> None:
        try:
            state = self.stat(source)
        except ObjectMissing:
            self.stat(target)
            return
        if version is not None and state.version != version:
            raise ObjectChanged("The stored file was changed just now; try again.")
        origin = {
            "CopySource": {"Bucket": self._bucket, "Key": checked_key(source)},
            "CopySourceIfMatch": state.version,
        }
        if state.size <= _COPY_AT_ONCE:
            with our_errors():
                self._worker.copy_object(**self._at(target), **cast("Any", origin))
        else:
            self._copy_parts(target, state.size, origin)
        with our_errors():
            self._store.delete_object(**self._at(source))

    def delete(self, key: str) -> None:
        with our_errors():
            self._store.delete_object(**self._at(key))
            self._abort_all({"Bucket": self._bucket, "Prefix": checked_key(key)}, key)

    def delete_all(self, prefix: str) -> int:
        inside: dict[str, Any] = {"Bucket": self._bucket, "Prefix": checked_key(prefix) + "/"}
        deleted = 0
        with our_errors():
            self._abort_all(inside)
            for found in self._store.get_paginator("list_objects_v2").paginate(**inside):
                keys = [one["Key"] for one in found.get("Contents", [])]
                if keys:
                    self._delete_many(keys)
                deleted += len(keys)
        return deleted

    def keys(self, prefix: str) -> Iterator[str]:
        inside: dict[str, Any] = {"Bucket": self._bucket, "Prefix": checked_key(prefix) + "/"}
        objects, uploads = (
            self._listed(listing, member, inside)
            for listing, member in (
                ("list_objects_v2", "Contents"),
                ("list_multipart_uploads", "Uploads"),
            )
        )
        return (key for key, _ in groupby(merge(objects, uploads)))

    def sign(self, link: Link, *, expires_in: int) -> str:
        shown = {
            "ResponseContentDisposition": disposition(
                link.name, link.content_type, inline=link.inline
            ),
            "ResponseContentType": link.content_type,
            "ResponseCacheControl": "no-store",
        }
        return self._signed("get_object", {**self._at(link.key), **shown}, expires_in)

    # Direct uploads.

    def sign_put(self, key: str, *, size: int, expires_in: int) -> str:
        return self._signed("put_object", {**self._at(key), "ContentLength": size}, expires_in)

    def create_multipart(self, key: str) -> str:
        with our_errors():
            return self._store.create_multipart_upload(**self._at(key))["UploadId"]

    def sign_part(
        self, key: str, upload_id: str, *, number: int, size: int, expires_in: int
    ) -> str:
        part = {"UploadId": upload_id, "PartNumber": number, "ContentLength": size}
        return self._signed("upload_part", {**self._at(key), **part}, expires_in)

    def parts(self, key: str, upload_id: str) -> Sequence[Part]:
        return [Part(number, size) for number, size, _ in self._arrived(key, upload_id)]

    def complete_multipart(self, key: str, upload_id: str) -> None:
        try:
            arrived = self._arrived(key, upload_id)
        except ObjectMissing:
            self.stat(key)
            return
        check_sequence([Part(number, size) for number, size, _ in arrived])
        self._join(key, upload_id, [(number, tag) for number, _, tag in arrived])

    def abort_multipart(self, key: str, upload_id: str) -> None:
        with suppress(ObjectMissing), our_errors():
            self._store.abort_multipart_upload(**self._at(key), UploadId=upload_id)

    # Inside.

    def _at(self, key: str) -> dict[str, Any]:
        return {"Bucket": self._bucket, "Key": checked_key(key)}

    def _signed(self, method: str, parameters: dict[str, Any], expires_in: int) -> str:
        return self._signer.generate_presigned_url(method, Params=parameters, ExpiresIn=expires_in)

    def _check_bucket(self) -> None:
        """A bucket that is away is a store that is away: nothing in it is gone."""
        try:
            with our_errors():
                self._store.head_bucket(Bucket=self._bucket)
        except ObjectMissing as error:
            raise StorageUnavailable("The file store's bucket is away.") from error

    def _put_parts(self, key: str, pieces: Iterable[bytes]) -> None:
        upload_id, tags = self.create_multipart(key), []
        try:
            for number, piece in enumerate(pieces, start=1):
                with our_errors():
                    sent = self._store.upload_part(
                        **self._at(key),
                        UploadId=upload_id,
                        PartNumber=number,
                        Body=piece,
                        ContentMD5=_md5(piece),
                    )
                tags.append((number, sent["ETag"]))
            self._join(key, upload_id, tags)
        except BaseException:
            with suppress(AppError):
                self.abort_multipart(key, upload_id)
            raise

    def _copy_parts(self, target: str, size: int, origin: dict[str, Any]) -> None:
        step = max(_COPY_AT_ONCE, -(-size // MOST_PARTS))
        upload_id, tags = self.create_multipart(target), []
        try:
            for number, start in zip(count(1), range(0, size, step), strict=False):
                end = min(start + step, size) - 1
                with our_errors():
                    copied = self._worker.upload_part_copy(
                        **self._at(target),
                        UploadId=upload_id,
                        PartNumber=number,
                        CopySourceRange=f"bytes={start}-{end}",
                        **origin,
                    )
                tags.append((number, copied["CopyPartResult"]["ETag"]))
            self._join(target, upload_id, tags)
        except BaseException:
            with suppress(AppError):
                self.abort_multipart(target, upload_id)
            raise

    def _join(self, key: str, upload_id: str, tags: Sequence[tuple[int, str]]) -> None:
        parts: list[CompletedPartTypeDef] = [
            {"PartNumber": number, "ETag": tag} for number, tag in tags
        ]
        with our_errors():
            self._worker.complete_multipart_upload(
                **self._at(key), UploadId=upload_id, MultipartUpload={"Parts": parts}
            )

    def _arrived(self, key: str, upload_id: str) -> list[tuple[int, int, str]]:
        """Number, size and tag of each part, by number."""
        paginator = self._store.get_paginator("list_parts")
        with our_errors():
            return [
                (part["PartNumber"], part["Size"], part["ETag"])
                for page in paginator.paginate(**self._at(key), UploadId=upload_id)
                for part in page.get("Parts", [])
            ]

    def _listed(self, listing: Any, member: str, inside: dict[str, Any]) -> Iterator[str]:
        pages: Any = self._store.get_paginator(listing).paginate(**inside)
        with our_errors():
            for page in pages:
                yield from (one["Key"] for one in page.get(member, []))

    def _abort_all(self, inside: dict[str, Any], key: str | None = None) -> None:
        for page in self._store.get_paginator("list_multipart_uploads").paginate(**inside):
            for upload in page.get("Uploads", []):
                if key in {None, upload["Key"]}:
                    self.abort_multipart(upload["Key"], upload["UploadId"])

    def _delete_many(self, keys: Sequence[str]) -> None:
        answer = self._store.delete_objects(
            Bucket=self._bucket, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True}
        )
        if answer.get("Errors"):
            raise StorageUnavailable("The file store did not delete everything.")


class _Reader(io.RawIOBase):
    """An object's bytes, fetched from wherever the reader is; seeking alone costs nothing."""

    def __init__(self, fetch: Callable[[int], "StreamingBody"], size: int) -> None:
        super().__init__()
        self._fetch = fetch
        self._size = size
        self._at = 0
        self._body: StreamingBody | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset != self._at:
            self._at = base + offset
            self._hang_up()
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """As many bytes, handed on as the client of the store gives them."""
        if size is None or size < 0:
            return self.readall()
        if self._at >= self._size or not size:
            return b""
        with our_errors():
            self._body = self._body or self._fetch(self._at)
            piece = self._body.read(size)
        self._at += len(piece)
        return piece

    def readinto(self, buffer: Any) -> int:
        piece = self.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        self._hang_up()
        super().close()

    def _hang_up(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None


def _pieces(chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
    """The same bytes in pieces of this size, but for the last; S3 wants parts of one size."""
    gathered: list[bytes] = []
    held = 0
    for chunk in chunks:
        rest = chunk
        while held + len(rest) >= size:
            cut = size - held
            yield b"".join([*gathered, rest[:cut]])
            rest, gathered, held = rest[cut:], [], 0
        if rest:
            gathered.append(rest)
            held += len(rest)
    if held:
        yield b"".join(gathered)


def _md5(content: bytes) -> str:
    """Content-MD5 (RFC 1864), by which the store refuses bytes that changed on their way."""
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
