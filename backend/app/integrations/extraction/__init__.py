"""Text out of files that strangers made, in a child process that may die of them.

The child has a bounded address space, processor time and output, no secret in its environment, and
is killed when its time is over. Whatever a file does to a parser, it does it there. The child
imports this package as well, so it stays small.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, cast

from app.core.errors import Unavailable

_BACKEND: Final = Path(__file__).resolve().parents[3]
_COMMAND: Final = (sys.executable, "-s", "-m", "app.integrations.extraction.child")
# What a character of the answer's JSON takes at most, and room for the rest of it.
_BYTES_PER_CHARACTER: Final = 6
_REST_OF_ANSWER: Final = 4096


class ExtractionUnavailable(Unavailable):
    """No child could be started; the machine is out of memory or processes, for one."""

    code = "extraction_unavailable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    seconds: float
    memory_bytes: int
    characters: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Extract:
    """What the bytes are, and the text in them; ``failure`` says why there is none.

    It is "unsupported" for a type that no text is taken from, else a code: timed_out,
    out_of_memory, crashed, encrypted or unreadable.
    """

    content_type: str | None = None
    text: str | None = None
    failure: str | None = None


def extract(file: BinaryIO, *, limits: Limits) -> Extract:
    """Reads the file from its beginning; never raises because of what is in it.

    Raises:
        ExtractionUnavailable: the child could not be started.
    """
    with tempfile.TemporaryFile() as answer:
        try:
            child = subprocess.Popen(  # noqa: S603  # see _COMMAND
                (
                    *_COMMAND,
                    str(limits.memory_bytes),
                    str(limits.seconds),
                    str(limits.characters),
                    str(_longest_answer(limits)),
                ),
                stdin=file.fileno(),
                stdout=answer,
                stderr=subprocess.DEVNULL,
                cwd=_BACKEND,
                env={"PYTHONPATH": str(_BACKEND), "PYTHONDONTWRITEBYTECODE": "1"},
                start_new_session=True,
            )
        except OSError as error:
            raise ExtractionUnavailable("The file cannot be read just now.") from error
        code = _ended(child, limits)
        answer.seek(0)
        return _read(answer.read(_longest_answer(limits)), code)


def _longest_answer(limits: Limits) -> int:
    return limits.characters * _BYTES_PER_CHARACTER + _REST_OF_ANSWER


def _ended(child: "subprocess.Popen[bytes]", limits: Limits) -> int | None:
    """Its exit code; None where its time was over."""
    try:
        return child.wait(limits.seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with suppress(ProcessLookupError):  # with all that it started
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _read(answer: bytes, code: int | None) -> Extract:
    if code is None or code in {-signal.SIGXCPU, -signal.SIGALRM}:
        return Extract(failure="timed_out")
    if code == 0:
        with suppress(ValueError, TypeError):
            return Extract(**cast("dict[str, str | None]", json.loads(answer)))
    return Extract(failure="crashed")
