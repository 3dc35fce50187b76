"""What the embedded servers share: a data folder of their own, a child process, a lock."""

from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Self

from embedded.locks import FolderLock
from embedded.process import ChildProcess


class EmbeddedServer(ABC):
    """A server on ``data_dir``, for as long as this object is started."""

    def __init__(self, data_dir: Path, *, durable: bool, log: Path | None) -> None:
        self.data_dir = data_dir.absolute()
        self.durable = durable
        self.log = log or self.data_dir / "server.log"
        self.version = ""
        self._child: ChildProcess | None = None
        self._lock = FolderLock(self.data_dir)

    @property
    def child(self) -> ChildProcess:
        """The running process."""
        if self._child is None:
            raise RuntimeError(f"{type(self).__name__} has not been started.")
        return self._child

    def start(self) -> None:
        """Take the data folder, start, and wait until the server answers."""
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock.acquire()
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop it, and let others use the data. May be called twice."""
        if self._child is not None:
            self._child.stop()
            self._child = None
        self._clear()
        self._lock.release()

    @abstractmethod
    def _start(self) -> None:
        """Set ``_child`` and wait for it."""

    def _clear(self) -> None:  # noqa: B027  # most leave nothing behind
        """Remove what lies outside the data folder."""

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()
