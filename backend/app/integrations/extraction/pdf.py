"""PDF."""

from collections.abc import Iterator
from typing import BinaryIO

from pypdf import PdfReader

from app.integrations.extraction.outcomes import Encrypted


def read(file: BinaryIO) -> Iterator[str]:
    reader = PdfReader(file)
    if reader.is_encrypted and not reader.decrypt(""):
        raise Encrypted
    for page in reader.pages:
        yield page.extract_text()
