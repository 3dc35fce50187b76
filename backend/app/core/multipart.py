"""Reads a file out of multipart/form-data (RFC 7578) as it arrives, in bounded memory."""

from collections.abc import Iterator
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

    Iterating raises `BadRequest` where the body breaks off and `PayloadTooLarge` past the limit.
    """

    def __init__(self, name: str, content_type: str, events: Iterator[Event], limit: int) -> None:
        self.name = name
        self.content_type = content_type
        self._events = events
        self._limit = limit

    def __iter__(self) -> Iterator[bytes]:
        received = 0
        for event in self._events:
            if isinstance(event, Data):
                received += len(event.data)
                if received > self._limit:
                    raise PayloadTooLarge(f"A file may have {self._limit} bytes.")
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
    events = _events(boundary.encode("latin-1", "replace"), limit + _FORM_OVERHEAD)
    for event in events:
        if isinstance(event, File):
            if event.name != "file":
                raise BadRequest("Send the file in the part named file.")
            return IncomingFile(event.filename, _content_type(event.headers), events, limit)
    raise BadRequest("The form holds no part named file with a filename.")


def _events(boundary: bytes, longest: int) -> Iterator[Event]:
    decoder = MultipartDecoder(boundary, _LARGEST_FIELD + _CHUNK, max_parts=_MOST_PARTS)
    chunks = _chunks(boundary, longest)
    while True:
        try:
            event = decoder.next_event()
            while isinstance(event, NeedData):
                decoder.receive_data(next(chunks, None))
                event = decoder.next_event()
        except (ValueError, HTTPException) as error:
            raise BadRequest(f"The form cannot be read: {error}") from None
        yield event
        if isinstance(event, Epilogue):
            return


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
