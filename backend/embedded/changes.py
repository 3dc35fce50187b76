"""Noticing that the application's code has changed on disk."""

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from watchfiles import Change, PythonFilter, watch

# Saving several files, or switching branches, is one change.
_DEBOUNCE_MILLISECONDS = 600
_NOT_RUNNING_CODE = ("tests", "embedded")


class _ApplicationCode(PythonFilter):
    """Python files of the running application."""

    def __init__(self, backend: Path) -> None:
        super().__init__()
        self._backend = backend

    def __call__(self, change: Change, path: str) -> bool:
        """Whether this change matters."""
        first = Path(path).relative_to(self._backend).parts[0]
        return first not in _NOT_RUNNING_CODE and super().__call__(change, path)


class Changes:
    """Sets of changed files, in the order they were seen."""

    def __init__(self) -> None:
        self._seen: queue.SimpleQueue[frozenset[Path]] = queue.SimpleQueue()

    def add(self, paths: frozenset[Path]) -> None:
        """Called by the watching thread."""
        self._seen.put(paths)

    def next(self, *, seconds: float) -> frozenset[Path]:
        """Wait so long at most; empty when nothing changed."""
        try:
            return self._seen.get(timeout=seconds)
        except queue.Empty:
            return frozenset()


@contextmanager
def watched(backend: Path) -> Iterator[Changes]:
    """Changes below the folder while the block runs."""
    changes, done = Changes(), threading.Event()
    root = backend.resolve()

    def follow() -> None:
        code = _ApplicationCode(root)
        for batch in watch(
            root, watch_filter=code, stop_event=done, debounce=_DEBOUNCE_MILLISECONDS
        ):
            changes.add(frozenset(Path(path).relative_to(root) for _, path in batch))

    thread = threading.Thread(target=follow, name="code-watcher", daemon=True)
    thread.start()
    try:
        yield changes
    finally:
        done.set()
        thread.join(timeout=5)
