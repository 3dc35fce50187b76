"""What a person sees while things start: numbered steps with a tick and the time they took."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


class Console:
    """Plain lines; ticks where the terminal's encoding has them, dim text where it has colours."""

    def __init__(self, *, steps: int, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._steps = steps
        self._step = 0
        encoding = (self._out.encoding or "ascii").lower().replace("-", "")
        self._tick, self._cross = ("✓", "✗") if encoding == "utf8" else ("ok", "failed")

    def say(self, text: str = "") -> None:
        """One line or more."""
        encoding = self._out.encoding or "ascii"
        printable = text.encode(encoding, errors="replace").decode(encoding)
        print(printable, file=self._out, flush=True)

    def aside(self, text: str) -> None:
        """Something that may be overlooked."""
        self.say(f"\x1b[2m{text}\x1b[0m" if self._out.isatty() else text)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Announce, let it happen, tick it off."""
        self._step += 1
        print(f"[{self._step}/{self._steps}] {title} … ".encode().decode(), end="", file=self._out)
        self._out.flush()
        began = time.monotonic()
        try:
            yield
        except BaseException:
            self.say(self._cross)
            raise
        self.say(f"{self._tick} {time.monotonic() - began:.1f} s")
