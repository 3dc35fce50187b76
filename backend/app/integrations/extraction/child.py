"""The child that reads one file from standard input and answers in JSON; see the package.

Its limits are its first act, before it has seen a byte of the file.
"""

import json
import resource
import signal
import sys
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import BinaryIO, Final

from app.integrations.extraction import detection
from app.integrations.extraction.outcomes import Encrypted

_OPEN_FILES: Final = 64
# Each imports a library, of which a child needs one. It has a function ``read``.
_READERS: Final[Mapping[str, str]] = {
    detection.PDF: "pdf",
    detection.DOCX: "word",
    detection.XLSX: "excel",
    detection.PPTX: "powerpoint",
    detection.ODT: "opendocument",
    detection.ODS: "opendocument",
    detection.ODP: "opendocument",
    detection.TEXT: "plain",
    detection.HTML: "plain",
    detection.XML: "plain",
}


def limit(*, memory_bytes: int, seconds: float, output_bytes: int) -> None:
    """For good: what is lowered here, the process cannot raise again."""
    processor_seconds = int(seconds) + 1
    for what, most in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, processor_seconds),
        (resource.RLIMIT_FSIZE, output_bytes),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))
    # Ends it also where the parent was killed, and the time is spent without the processor.
    signal.alarm(processor_seconds)


def answer(file: BinaryIO, *, characters: int) -> dict[str, str | None]:
    """What `Extract` takes."""
    content_type: str | None = None
    try:
        file.seek(0)
        content_type = detection.detected(file)
        if content_type not in _READERS:
            return {"content_type": content_type, "failure": "unsupported"}
        reader = import_module(f"app.integrations.extraction.{_READERS[content_type]}")
        file.seek(0)
        return {"content_type": content_type, "text": _joined(reader.read(file), characters)}
    except MemoryError:
        failure = "out_of_memory"
    except Encrypted:
        failure = "encrypted"
    except Exception:  # noqa: BLE001  # parsers raise anything on what is none of theirs
        failure = "unreadable"
    return {"content_type": content_type, "failure": failure}


def _joined(pieces: Iterable[str], characters: int) -> str:
    """The pieces' words, one space between them, up to so many characters."""
    words: list[str] = []
    length = 0
    for piece in pieces:
        line = " ".join("".join(c if c.isprintable() else " " for c in piece).split())
        if line:
            words.append(line)
            length += len(line) + 1
        if length > characters:
            break
    return " ".join(words)[:characters]


def main() -> None:
    memory_bytes, seconds, characters, output_bytes = sys.argv[1:]
    limit(memory_bytes=int(memory_bytes), seconds=float(seconds), output_bytes=int(output_bytes))
    json.dump(answer(sys.stdin.buffer, characters=int(characters)), sys.stdout)


if __name__ == "__main__":
    main()
