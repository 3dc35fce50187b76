"""Calls that may never return, with a bounded wait for them."""

from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock
from typing import Generic

from flask import Flask

from app.core import background
from app.core.background import Result


class Errand(Generic[Result]):
    """A call in a thread of its own, and never twice at a time, however many want its result.

    A thread that waits for a server that never answers cannot be ended: there is at most one of it.
    """

    def __init__(self, app: Flask, call: Callable[[], Result], *, name: str) -> None:
        self._app = app
        self._call = call
        self._name = name
        self._lock = Lock()
        self._under_way: Future[Result] | None = None

    def begin(self) -> Future[Result]:
        """The call that is under way, else a new one."""
        with self._lock:
            if self._under_way is None or self._under_way.done():
                self._under_way = background.begun(self._run, name=self._name)
            return self._under_way

    def _run(self) -> Result:
        with self._app.app_context():
            return self._call()
