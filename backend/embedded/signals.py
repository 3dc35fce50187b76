"""Turning the signals that ask us to stop into one exception."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequested(BaseException):
    """Ctrl-C, TERM, or a closed terminal. Not an error, so that nothing catches it by accident."""


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """The first signal raises StopRequested; later ones would only disturb the stopping."""

    def request(number: int, _frame: FrameType | None) -> None:
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise StopRequested(signal.Signals(number).name)

    before = {each: signal.signal(each, request) for each in _SIGNALS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
