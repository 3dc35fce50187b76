"""PowerPoint's presentations: the paragraphs of slides and of their notes."""

from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO, Final

import pptx

_DRAWING: Final = "{http://schemas.openxmlformats.org/drawingml/2006/main}"


def read(file: BinaryIO) -> Iterator[str]:
    for slide in pptx.Presentation(file).slides:
        trees = [slide.element]
        if slide.has_notes_slide:
            trees.append(slide.notes_slide.element)
        for paragraph in chain.from_iterable(tree.iter(_DRAWING + "p") for tree in trees):
            yield "".join(each.text or "" for each in paragraph.iter(_DRAWING + "t"))
