"""A sign of life of a process that answers no requests, for whoever supervises it."""

import time
from typing import Final

from app.settings import Settings

_AT_MOST_EVERY: Final = 1.0


class Heartbeat:
    """Touches HEARTBEAT_FILE as the process's loop comes round; a file that grows old is a hang."""

    def __init__(self, settings: Settings) -> None:
        self._file = settings.heartbeat_file
        self._next = 0.0

    def beat(self) -> None:
        now = time.monotonic()
        if self._file is not None and now >= self._next:
            self._next = now + _AT_MOST_EVERY
            self._file.touch()
