"""Word's documents: their paragraphs, also of tables, text boxes, headers and footers."""

from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO

import docx
from docx.oxml.ns import qn


def read(file: BinaryIO) -> Iterator[str]:
    document = docx.Document(file)
    parts = [document.element.body]
    for section in document.sections:
        parts += [
            part._element  # noqa: SLF001  # the library has no other way to text boxes
            for part in (section.header, section.footer)
            if not part.is_linked_to_previous
        ]
    for paragraph in chain.from_iterable(part.iter(qn("w:p")) for part in parts):
        yield "".join(
            "\t" if each.tag == qn("w:tab") else each.text or ""
            for each in paragraph.iter(qn("w:t"), qn("w:tab"))
        )
