"""Work that a request waits for, and not for ever: after the deadline it goes on without it."""

from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from threading import Thread
from typing import TypeVar

from app.core import deadlines

Result = TypeVar("Result")


def begun(work: Callable[[], Result], *, name: str) -> Future[Result]:
    """The work's outcome to come, from a thread of its own in the caller's context.

    A daemon: what never returns does not keep the process from ending.
    """
    outcome: Future[Result] = Future()

    def run() -> None:
        deadlines.lift()
        try:
            result = work()
        except Exception as error:  # noqa: BLE001  # the one who waits for it gets it
            outcome.set_exception(error)
        else:
            outcome.set_result(result)

    # The context holds the application that the thread works for.
    Thread(target=copy_context().run, args=(run,), daemon=True, name=f"background: {name}").start()
    return outcome


def finished_within(seconds: float, work: Callable[[], None]) -> bool:
    """Whether the work came to its end by then; what it raises until then is raised here.

    A process that ends takes the work with it, so somebody else must be bound to finish it.
    """
    done = begun(work, name="waited for")
    try:
        done.result(seconds)
    except TimeoutError:
        if done.done():
            raise
        return False
    return True
