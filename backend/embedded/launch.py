"""Become another program that does not outlive the process that asked for it.

Run as a file by an isolated interpreter (``python -I -S launch.py``), so only the standard library
is here and no sibling is imported:

    launch.py <parent pid> <signal> <mode> <program> [<argument> …]

mode ``kernel``: Linux sends the signal when the parent ends, even by ``kill -9`` (prctl(2),
PR_SET_PDEATHSIG). The kernel forgets this at every change of credentials, so it is asked for here,
after setpriv has done its work and right before the program takes this process over.
mode ``observer``: other systems have no such call; a small process stays and looks twice a second.
It kills what is left of the process group in the end, which the kernel's signal does not do.
mode ``both``: for programs whose own children may survive them.
"""

import ctypes
import os
import signal
import sys
import time
from contextlib import suppress

_PR_SET_PDEATHSIG = 1
_LOOK_EVERY = 0.5
_SECONDS_TO_STOP = 8.0


def _ask_kernel(number: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _observe(parent: int, server: int, number: int) -> None:
    while _alive(server) and _alive(parent):
        time.sleep(_LOOK_EVERY)
    if _alive(parent):
        return
    with suppress(ProcessLookupError):
        os.kill(server, number)
    deadline = time.monotonic() + _SECONDS_TO_STOP
    while _alive(server) and time.monotonic() < deadline:
        time.sleep(_LOOK_EVERY)
    os.killpg(0, signal.SIGKILL)  # ourselves included


def _leave_observer(parent: int, number: int) -> None:
    """Fork twice, so that the server never has a child that it does not know."""
    server = os.getpid()
    middle = os.fork()
    if middle:
        os.waitpid(middle, 0)
        return
    if os.fork() == 0:
        _observe(parent, server, number)
    os._exit(0)


def main(arguments: list[str]) -> None:
    """Arrange the end, then become the program."""
    parent, number, mode, *program = arguments
    if mode in {"kernel", "both"}:
        _ask_kernel(int(number))
    if mode in {"observer", "both"}:
        _leave_observer(int(parent), int(number))
    if os.getppid() != int(parent):  # it ended before we could ask
        sys.exit(1)
    try:
        os.execvp(program[0], program)
    except OSError as error:
        sys.exit(f"{program[0]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
