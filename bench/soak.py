"""Whether processes grow while they work: memory, file descriptors, threads, connections."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import psycopg

_PROC: Final = Path("/proc")
# The first part warms up; the second is compared with the last.
_PARTS: Final = 5


@dataclass(frozen=True)
class Look:
    """The sums over all processes (memory in MB), and the sessions that PostgreSQL has."""

    memory: float
    descriptors: int
    threads: int
    connections: int


@dataclass(frozen=True)
class Growth:
    """From the second part of the looks to the last: medians of each."""

    name: str
    before: float
    after: float


def growth(looks: Sequence[Look]) -> list[Growth]:
    size = len(looks) // _PARTS
    early, late = looks[size : 2 * size], looks[-size:]
    found = []
    for name in ("memory", "descriptors", "threads", "connections"):
        before, after = (median(getattr(look, name) for look in part) for part in (early, late))
        found.append(Growth(name, before, after))
    return found


class Watch:
    """Looks from time to time, in a thread, until it is stopped."""

    def __init__(self, admin_url: str, roots: Sequence[int], every: float) -> None:
        self.looks: list[Look] = []
        self._roots = roots
        self._every = every
        self._connection = psycopg.connect(admin_url, autocommit=True)
        self._end = threading.Event()

    def look(self) -> None:
        pids = [pid for root in self._roots for pid in (root, *_descendants(root))]
        row = self._connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
        ).fetchone()
        self.looks.append(
            Look(
                memory=sum(map(_memory_kb, pids)) / 1024,
                descriptors=sum(_count(pid, "fd") for pid in pids),
                threads=sum(_count(pid, "task") for pid in pids),
                connections=row[0] if row else 0,
            )
        )

    def run(self) -> None:
        while not self._end.wait(self._every):
            self.look()

    def stop(self) -> None:
        self._end.set()

    def close(self) -> None:
        self._connection.close()


@contextmanager
def watched(admin_url: str, roots: Sequence[int], *, every: float) -> Iterator[Watch]:
    """`roots` are processes; those that they start count with them."""
    watch = Watch(admin_url, roots, every)
    thread = threading.Thread(target=watch.run, daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        watch.stop()
        thread.join()
        watch.close()


def _descendants(pid: int) -> list[int]:
    children: list[int] = []
    with suppress(OSError):
        for task in (_PROC / str(pid) / "task").iterdir():
            children += map(int, (task / "children").read_text().split())
    return children + [each for child in children for each in _descendants(child)]


def _memory_kb(pid: int) -> int:
    """Proportional: what processes share is counted once in their sum."""
    with suppress(OSError):
        for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0


def _count(pid: int, folder: str) -> int:
    with suppress(OSError):
        return len(list((_PROC / str(pid) / folder).iterdir()))
    return 0
