"""What a file is, by its bytes."""

import re
import zipfile
from contextlib import suppress
from typing import BinaryIO, Final

import puremagic

PDF: Final = "application/pdf"
ZIP: Final = "application/zip"
TEXT: Final = "text/plain"
HTML: Final = "text/html"
XML: Final = "application/xml"
SVG: Final = "image/svg+xml"
UNKNOWN: Final = "application/octet-stream"
_OPEN_XML: Final = "application/vnd.openxmlformats-officedocument."
DOCX: Final = _OPEN_XML + "wordprocessingml.document"
XLSX: Final = _OPEN_XML + "spreadsheetml.sheet"
PPTX: Final = _OPEN_XML + "presentationml.presentation"
_OPEN_DOCUMENT: Final = "application/vnd.oasis.opendocument."
ODT, ODS, ODP = (_OPEN_DOCUMENT + kind for kind in ("text", "spreadsheet", "presentation"))

HEAD: Final = 8192
# Adobe's own readers look so far for it (PDF 1.7 Reference, appendix H, note 13).
_PDF_WITHIN: Final = 1024
_MAIN_PARTS: Final = {
    "word/document.xml": DOCX,
    "xl/workbook.xml": XLSX,
    "ppt/presentation.xml": PPTX,
}
_MARKS: Final = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
# What no text holds (the C0 controls but white space, form feed and escape).
_BINARY: Final = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
_MARKUP: Final = ((b"<!doctype html", HTML), (b"<html", HTML), (b"<svg", SVG), (b"<?xml", XML))


def detected(file: BinaryIO) -> str:
    """The media type that the bytes have, whatever anybody calls it."""
    head = file.read(HEAD)
    if b"%PDF-" in head[:_PDF_WITHIN]:
        return PDF
    if head.startswith(b"PK\x03\x04"):
        return _kind_of_archive(file)
    if encoding_of(head) is not None:
        start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
        if start.startswith(b"<?xml") and b"<svg" in start:
            return SVG
        return next((kind for mark, kind in _MARKUP if start.startswith(mark)), TEXT)
    with suppress(puremagic.PureError, ValueError):
        return puremagic.from_string(head, mime=True) or UNKNOWN
    return UNKNOWN


def _kind_of_archive(file: BinaryIO) -> str:
    with (
        suppress(zipfile.BadZipFile, KeyError, NotImplementedError),
        zipfile.ZipFile(file) as parts,
    ):
        names = frozenset(parts.namelist())
        if "[Content_Types].xml" in names:
            return next((kind for part, kind in _MAIN_PARTS.items() if part in names), ZIP)
        if "mimetype" in names:  # OpenDocument 1.3, part 2, section 3.3
            with parts.open("mimetype") as entry:
                kind = entry.read(100).decode("ascii", "replace").strip()
            return kind if kind.startswith(_OPEN_DOCUMENT) else ZIP
    return ZIP


def encoding_of(head: bytes) -> str | None:
    """None for what is no text; a character that the head cuts in two is no reason."""
    for mark, encoding in _MARKS.items():
        if head.startswith(mark):
            return encoding
    if _BINARY.search(head):
        return None
    try:
        head.decode()
    except UnicodeDecodeError as error:
        cut = len(head) == HEAD and error.start >= HEAD - 3
        return "utf-8" if cut else "cp1252"
    return "utf-8"
