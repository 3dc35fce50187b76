"""How slow a store may be: not only until its next byte, but until all of them are here.

What boto3 knows is a limit for each read. A store that sends a byte now and then never reaches it,
and would keep a request for as long as it likes. Here waiting uses up that same time over all of an
answer's reads, and bytes that arrive give it back at a slowest pace: an answer of a few hundred
bytes ends within the limit of a read or two, and so does a large one that dries up.
"""

import io
import socket
import time
from typing import Any, BinaryIO, Final, cast

from botocore import awsrequest

_SLOWEST: Final = 16 * 1024  # bytes in a second
_PIECE: Final = 128 * 1024
_BUFFER: Final = 64 * 1024


def keep() -> None:
    """Has every connection of boto3 in this process keep a pace."""
    awsrequest.AWSHTTPConnectionPool.ConnectionCls = _Http
    awsrequest.AWSHTTPSConnectionPool.ConnectionCls = _Https


class _Pace:
    """Of one answer, or of one piece of a request. Only waiting counts: who reads may take long."""

    def __init__(self, patience: float) -> None:
        self._most = self._left = patience
        self._since = 0.0

    def __enter__(self) -> None:
        if self._left < 0:
            raise TimeoutError("the store is too slow")
        self._since = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._left -= time.monotonic() - self._since

    def passed(self, size: int) -> None:
        self._left = min(self._most, self._left + size / _SLOWEST)


class _Answer(io.RawIOBase):
    """The bytes of one answer as they come off the socket."""

    def __init__(self, raw: BinaryIO, pace: _Pace) -> None:
        super().__init__()
        self._raw = raw
        self._pace = pace

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with self._pace:
            size: int = cast("Any", self._raw).readinto(buffer)
        self._pace.passed(size)
        return size

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Socket:
    """A socket whose answers and requests keep a pace; all else is the socket's own."""

    def __init__(self, inner: socket.socket) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def makefile(self, mode: str, buffering: int = _BUFFER) -> io.IOBase:
        answer = _Answer(cast("Any", self._inner).makefile(mode, buffering=0), self._pace())
        return io.BufferedReader(answer, buffering) if buffering else answer

    def sendall(self, content: Any) -> None:
        """In pieces: each has the time that boto3 gives to a whole part of many megabytes."""
        pace, left = self._pace(), memoryview(content).cast("B")
        while left:
            piece, left = left[:_PIECE], left[_PIECE:]
            with pace:
                self._inner.sendall(piece)
            pace.passed(len(piece))

    def _pace(self) -> _Pace:
        return _Pace(self._inner.gettimeout() or 0)


class _Paced:
    sock: Any

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]  # of the class that this is mixed into
        self.sock = _Socket(self.sock)


class _Http(_Paced, awsrequest.AWSHTTPConnection):  # type: ignore[misc]
    pass


class _Https(_Paced, awsrequest.AWSHTTPSConnection):  # type: ignore[misc]
    pass
