"""Text files, in UTF-8, UTF-16 with its mark, or else Windows-1252."""

import io
from collections.abc import Iterator
from typing import BinaryIO, Final

from app.integrations.extraction.detection import HEAD, encoding_of

_CHUNK: Final = 1024**2


def read(file: BinaryIO) -> Iterator[str]:
    encoding = encoding_of(file.read(HEAD)) or "utf-8"
    file.seek(0)
    reader = io.TextIOWrapper(file, encoding=encoding, errors="replace")
    while chunk := reader.read(_CHUNK):
        yield chunk
