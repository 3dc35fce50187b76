"""Reads a file out of multipart/form-data (RFC 7578) as it arrives, in bounded memory."""

from collections.abc import Callable, Iterator
from typing import Final

from flask import request
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException
from werkzeug.sansio.multipart import Data, Epilogue, Event, File, MultipartDecoder, NeedData

from app.core import payloads
from app.core.errors import BadRequest, PayloadTooLarge, UnsupportedMediaType

_CHUNK: Final = 64 * 1024
_LARGEST_FIELD: Final = 64 * 1024
_MOST_PARTS: Final = 20
_FORM_OVERHEAD: Final = 1024**2


class IncomingFile:
    """The one file part of a request: its name, its type, and its bytes, read once.

    ``expected_bytes`` is what the length of the whole form leaves for it, 0 where that is unknown:
    a hint, for another part may follow, or the sender be wrong. ``observe`` is shown each piece of
    the file. Iterating raises `BadRequest` where
    the body breaks off and `PayloadTooLarge` past the limit.
    """

    def __init__(
        self,
        name: str,
        content_type: str,
        events: Iterator[Event],
        *,
        limit: int,
        expected_bytes: int,
    ) -> None:
        self.name = name
        self.content_type = content_type
        self.expected_bytes = expected_bytes
        self.observe: Callable[[bytes], None] | None = None
        self._events = events
        self._limit = limit

    def __iter__(self) -> Iterator[bytes]:
        received = 0
        for event in self._events:
            if isinstance(event, Data):
                received += len(event.data)
                if received > self._limit:
                    raise PayloadTooLarge(f"A file may have {self._limit} bytes.")
                if self.observe is not None:
                    self.observe(event.data)
                yield event.data
                if not event.more_data:
                    return self._expect_end()
        raise BadRequest("The file breaks off.")

    def _expect_end(self) -> None:
        for event in self._events:
            if isinstance(event, File):
                raise BadRequest("Send one file at a time.")
            if isinstance(event, Epilogue):
                return
        raise BadRequest("The form breaks off.")


def incoming_file(*, limit: int) -> IncomingFile:
    """The part named ``file``; its bytes stay in the socket until it is iterated.

    Raises:
        UnsupportedMediaType: the body is no multipart form.
        BadRequest: it holds no such part, or cannot be read.
    """
    boundary = request.mimetype_params.get("boundary")
    if request.mimetype != "multipart/form-data" or not boundary:
        raise UnsupportedMediaType("Send the file as multipart/form-data with a boundary.")
    if (request.content_length or 0) > limit + _FORM_OVERHEAD:
        raise PayloadTooLarge(f"A file may have {limit} bytes.")
    form = _Form(boundary.encode("latin-1", "replace"), limit + _FORM_OVERHEAD)
    events = form.events()
    for event in events:
        if isinstance(event, File):
            if event.name != "file":
                raise BadRequest("Send the file in the part named file.")
            return IncomingFile(
                event.filename,
                _content_type(event.headers),
                events,
                limit=limit,
                expected_bytes=form.left_for_last_part(request.content_length),
            )
    raise BadRequest("The form holds no part named file with a filename.")


class _Form:
    """A form's events, as its bytes arrive."""

    def __init__(self, boundary: bytes, longest: int) -> None:
        self._boundary = boundary
        self._decoder = MultipartDecoder(boundary, _LARGEST_FIELD + _CHUNK, max_parts=_MOST_PARTS)
        self._chunks = _chunks(boundary, longest)
        self._received = 0

    def events(self) -> Iterator[Event]:
        while True:
            try:
                event = self._decoder.next_event()
                while isinstance(event, NeedData):
                    self._decoder.receive_data(self._next_chunk())
                    event = self._decoder.next_event()
            except (ValueError, HTTPException) as error:
                raise BadRequest(f"The form cannot be read: {error}") from None
            yield event
            if isinstance(event, Epilogue):
                return

    def left_for_last_part(self, content_length: int | None) -> int:
        """The bytes between the part's headers, just read, and the closing boundary."""
        # The decoder keeps the second of the two line breaks behind the headers until then.
        read = self._received - len(self._decoder.buffer) + len(b"\r\n")
        closing = len(b"\r\n--" + self._boundary + b"--\r\n")
        return max((content_length or 0) - read - closing, 0)

    def _next_chunk(self) -> bytes | None:
        chunk = next(self._chunks, None)
        self._received += len(chunk or b"")
        return chunk


def _chunks(boundary: bytes, longest: int) -> Iterator[bytes]:
    """The body in pieces, none of which ends between the two dashes of the closing boundary.

    There werkzeug's decoder takes the CR before the boundary for content (pallets/werkzeug#3285).
    """
    cut, tail, received = b"--" + boundary + b"-", b"", 0
    while chunk := payloads.read_body(_CHUNK):
        received += len(chunk)
        if received > longest:  # in fields beside the file, where no length was announced
            raise PayloadTooLarge(f"A form may have {longest} bytes.")
        tail = (tail + chunk)[-len(cut) :]
        yield chunk + payloads.read_body(1) if tail == cut else chunk


def _content_type(headers: Headers) -> str:
    return headers.get("content-type", "application/octet-stream")
