"""OpenDocument's texts, spreadsheets and presentations: headings and paragraphs."""

import zipfile
from collections.abc import Iterator
from typing import BinaryIO, Final

from lxml import etree

_TEXT: Final = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"


def read(file: BinaryIO) -> Iterator[str]:
    with zipfile.ZipFile(file) as parts, parts.open("content.xml") as content:
        tags = (_TEXT + "p", _TEXT + "h")
        for _, element in etree.iterparse(content, tag=tags, resolve_entities=False):
            yield "".join(element.itertext())
            element.clear()
