"""What people call things: checked once, where it comes in."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final

from app.domains.documents.errors import BadName, BadTags

_LONGEST_NAME: Final = 255
_LONGEST_TAG: Final = 50
_MOST_TAGS: Final = 50
_MEDIA_TYPE: Final = re.compile(
    r"^[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}\Z"
)
# Unicode's explicit directional formatting (UAX #9, section 2): "exe\u202etxt.fdp" shows as PDF.
_TURNING: Final = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})


def checked_name(name: str, *, field: str = "file") -> str:
    """The last part of whatever path a client sent, to be shown and never to be opened.

    Raises:
        BadName: it is empty, too long, or holds control characters.
    """
    plain = name.replace("\\", "/").rsplit("/", 1)[-1].strip()
    if not plain or len(plain.encode("utf-8", "replace")) > _LONGEST_NAME:
        message = f"A document's name has 1 to {_LONGEST_NAME} bytes."
        raise BadName(message, errors={field: [message]})
    if any(map(_cannot_be_shown, plain)):
        message = "A document's name holds no control characters."
        raise BadName(message, errors={field: [message]})
    return plain


def checked_tags(tags: Iterable[str]) -> list[str]:
    """Each tag once, in lower case and in order: "Invoice" and "invoice" are one.

    Raises:
        BadTags: there are too many, or one is empty, too long, or holds control characters.
    """
    plain = sorted({_folded_tag(tag) for tag in tags})
    if len(plain) > _MOST_TAGS:
        message = f"A document has up to {_MOST_TAGS} tags."
        raise BadTags(message, errors={"tags": [message]})
    return plain


def _folded_tag(tag: str) -> str:
    plain = unicodedata.normalize("NFKC", tag).strip().casefold()
    if not 0 < len(plain) <= _LONGEST_TAG or any(map(_cannot_be_shown, plain)):
        message = f"A tag has 1 to {_LONGEST_TAG} characters, none of them a control character."
        raise BadTags(message, errors={"tags": [message]})
    return plain


def _cannot_be_shown(character: str) -> bool:
    """Controls, ends of lines, and what turns the direction of the text behind it around."""
    return (
        unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"}
        or unicodedata.bidirectional(character) in _TURNING
    )


def checked_type(content_type: str) -> str:
    """The media type (RFC 6838) without parameters; what is none becomes plain bytes."""
    plain = content_type.partition(";")[0].strip().lower()
    return plain if _MEDIA_TYPE.match(plain) else "application/octet-stream"


# What Windows takes for a device, whatever ending it has, and the characters that it refuses.
_DEVICES: Final = re.compile(r"^(?:con|prn|aux|nul|(?:com|lpt)[0-9¹²³])(?:\.|\Z)", re.IGNORECASE)
_REFUSED: Final = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')


def names_for_files(names: Sequence[str]) -> list[str]:
    """The names as files of one folder on any system: each one safe, and none twice."""
    taken: set[str] = set()
    return [_not_taken(_safe(name), taken) for name in names]


def _safe(name: str) -> str:
    plain = _REFUSED.sub("_", name).rstrip(". ")
    return f"_{plain}" if not plain.strip(".") or _DEVICES.match(plain) else plain


def _not_taken(name: str, taken: set[str]) -> str:
    """Windows and macOS keep capitals and do not tell them apart."""
    stem, dot, ending = name.rpartition(".")
    stem, ending = (stem, dot + ending) if stem else (name, "")
    candidate, number = name, 1
    while candidate.casefold() in taken:
        number += 1
        candidate = f"{stem} ({number}){ending}"
    taken.add(candidate.casefold())
    return candidate
