"""Processor time: it tells apart what a request costs and what else the machine is doing."""

import os
import time
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
# proc(5), counted from 1: parent, and the times of a process and of its children that have ended.
_PARENT: Final = 4
_OWN: Final = (14, 15)
_ENDED_CHILDREN: Final = (16, 17)


def can_be_measured() -> bool:
    """Linux only."""
    return (_PROC / "self/stat").exists()


def cpu_seconds(server: int) -> float:
    """What this process, the server's main process and all of its children have used so far."""
    return time.process_time() + family_seconds(server)


def family_seconds(main: int) -> float:
    """What a server's main process and all of its children have used so far."""
    if not can_be_measured():
        return 0.0
    ticks = _ticks(main, *_OWN, *_ENDED_CHILDREN)
    ticks += sum(_ticks(child, *_OWN) for child in _children(main))
    return ticks / os.sysconf("SC_CLK_TCK")


def _children(parent: int) -> list[int]:
    pids = [int(folder.name) for folder in _PROC.iterdir() if folder.name.isdecimal()]
    return [pid for pid in pids if _ticks(pid, _PARENT) == parent]


def _ticks(pid: int, *fields: int) -> int:
    """The sum of the fields; 0 for a process that is gone."""
    try:
        # The second field is a name in parentheses, which may hold anything.
        after_name = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(after_name[number - 3]) for number in fields)
