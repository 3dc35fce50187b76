"""Calls that may never return, with a bounded wait for them."""

from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock, Thread
from typing import Generic, TypeVar

from flask import Flask

Result = TypeVar("Result")


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
                self._under_way = Future()
                # A daemon: what never returns does not keep the process from ending.
                Thread(
                    target=self._run, args=(self._under_way,), name=self._name, daemon=True
                ).start()
            return self._under_way

    def _run(self, future: Future[Result]) -> None:
        try:
            with self._app.app_context():
                result = self._call()
        except Exception as error:  # noqa: BLE001  # whoever waits for the result gets it
            future.set_exception(error)
        else:
            future.set_result(result)
