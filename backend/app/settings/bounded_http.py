"""HTTP whose timeout is one for the whole answer, not one for each read of it.

What urllib3 knows is a limit until the next byte. A server that sends one now and then never
reaches it, and would keep whoever asks for as long as it likes.
"""

import io
import time
from typing import Any, Final

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

_BUFFER: Final = 64 * 1024
_NO_TIME: Final = 0.001


class BoundedAdapter(HTTPAdapter):
    """To be mounted in a session of requests."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}


class _Answer(io.RawIOBase):
    """The bytes of one answer; all of them have to come within the socket's timeout."""

    def __init__(self, socket: Any) -> None:
        super().__init__()
        self._socket, self._raw = socket, socket.makefile("rb", buffering=0)
        patience = socket.gettimeout()
        self._deadline = None if patience is None else time.monotonic() + patience

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._deadline is not None:
            self._socket.settimeout(max(self._deadline - time.monotonic(), _NO_TIME))
        size: int = self._raw.readinto(buffer)
        return size

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Socket:
    """A socket whose answers end in time; all else is the socket's own."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def makefile(self, *_: Any, **__: Any) -> io.BufferedReader:
        """What http.client reads one answer from."""
        return io.BufferedReader(_Answer(self._inner), _BUFFER)


class _Bounded:
    sock: Any

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]  # of the class that this is mixed into
        self.sock = _Socket(self.sock)


class _Http(_Bounded, HTTPConnection):
    pass


class _Https(_Bounded, HTTPSConnection):
    pass


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _Http


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _Https
