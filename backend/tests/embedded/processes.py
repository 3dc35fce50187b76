"""Looking at processes from outside, every wait bounded."""

import subprocess
import time
from collections.abc import Callable, Iterable


def wait_for(what: Callable[[], bool], *, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def descendants(of: int) -> set[int]:
    """All processes below this one."""
    listing = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True
    )
    rows = [line.split() for line in listing.stdout.splitlines()]
    parents = {int(pid): int(parent) for pid, parent in rows}
    found = {of}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {of}


def living(pids: Iterable[int]) -> set[int]:
    """Those that still run; a zombie does not."""
    wanted = {str(pid) for pid in pids}
    listing = subprocess.run(
        ["ps", "-A", "-o", "pid=,stat="], capture_output=True, text=True, check=True
    )
    rows = [line.split() for line in listing.stdout.splitlines()]
    return {int(pid) for pid, state in rows if pid in wanted and not state.startswith("Z")}
