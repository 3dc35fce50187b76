"""Small files of every kind that text is taken from; each holds the words it is given."""

import io
import zipfile
from typing import Any

import docx
import openpyxl
import pptx


def pdf(words: str) -> bytes:
    """One page (PDF 1.7 Reference, appendix H.1); readers find the objects without a table."""
    content = f"BT /F1 12 Tf 72 720 Td ({words}) Tj ET"
    font = "<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>"
    resources = f"<</Font<</F1 {font}>>>>"
    objects = (
        "<</Type/Catalog/Pages 2 0 R>>",
        "<</Type/Pages/Kids[3 0 R]/Count 1>>",
        f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources{resources}>>",
        f"<</Length {len(content)}>>stream\n{content}\nendstream",
    )
    made, places = "%PDF-1.7\n", []
    for number, each in enumerate(objects, start=1):
        places.append(len(made))
        made += f"{number} 0 obj{each}endobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    start = len(made)
    made += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}"
    made += f"trailer<</Size {len(objects) + 1}/Root 1 0 R>>\nstartxref\n{start}\n%%EOF"
    return made.encode("cp1252")


def word(body: str, header: str = "") -> bytes:
    document = docx.Document()
    document.add_table(1, 1).cell(0, 0).text = body
    document.sections[0].header.paragraphs[0].text = header
    return _saved(document)


def excel(words: str) -> bytes:
    book = openpyxl.Workbook()
    book.create_sheet("Second").append([words, 4711])
    return _saved(book)


def powerpoint(title: str, notes: str) -> bytes:
    deck = pptx.Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[0])
    slide.shapes.title.text = title
    slide.notes_slide.notes_text_frame.text = notes
    return _saved(deck)


def opendocument(words: str) -> bytes:
    office = "urn:oasis:names:tc:opendocument:xmlns"
    content = (
        f'<o:document-content xmlns:o="{office}:office:1.0" xmlns:t="{office}:text:1.0"><o:body>'
        f"<o:text><t:p>{words}</t:p></o:text></o:body></o:document-content>"
    )
    return archive(
        {"mimetype": b"application/vnd.oasis.opendocument.text", "content.xml": content.encode()}
    )


def bomb(size: int) -> bytes:
    """A Word document of a few kilobytes, whose body is so many bytes of it when unpacked."""
    with zipfile.ZipFile(io.BytesIO(word("plans"))) as parts:
        content = {name: parts.read(name) for name in parts.namelist()}
    body = content["word/document.xml"]
    content["word/document.xml"] = body.replace(b"plans", b"<w:br/>" * (size // 7))
    return archive(content)


def archive(content: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as parts:
        for name, each in content.items():
            parts.writestr(name, each)
    return made.getvalue()


def _saved(thing: Any) -> bytes:
    made = io.BytesIO()
    thing.save(made)
    return made.getvalue()
