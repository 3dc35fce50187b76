"""One process per data folder."""

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from embedded.errors import FolderBusy

_TRIES = 10
_BETWEEN_TRIES = 0.05


class FolderLock:
    """An flock(2) on ``<folder>/lock``: the kernel lets go of it however the holder ends."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lock"
        self._file: TextIO | None = None

    def acquire(self) -> None:
        """Take the lock or say who has it."""
        file = self._path.open("a+")
        if not self._taken(file):
            file.seek(0)
            holder = file.read().strip() or "unknown"
            file.close()
            raise FolderBusy(
                f"{self._path.parent} is in use by process {holder}. Stop that one first."
            )
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        self._file = file

    @staticmethod
    def _taken(file: TextIO) -> bool:
        """Several tries: whoever asks for the holder has the lock for a moment."""
        for _ in range(_TRIES):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_BETWEEN_TRIES)
            else:
                return True
        return False

    def holder(self) -> int | None:
        """The process that has the lock now."""
        with suppress(FileNotFoundError), self._path.open("r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read().strip() or 0) or None
        return None

    def release(self) -> None:
        """Give it back; also right when it was never taken."""
        if self._file is None:
            return
        with suppress(OSError):
            self._file.truncate(0)
        self._file.close()
        self._file = None
