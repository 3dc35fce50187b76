"""Work that a request waits for, and not for ever: after the deadline it goes on without it."""

from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from threading import Thread


def finished_within(seconds: float, work: Callable[[], None]) -> bool:
    """Whether the work came to its end by then; what it raises until then is raised here.

    A process that ends takes the work with it, so somebody else must be bound to finish it.
    """
    done: Future[None] = Future()

    def run() -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001  # the one who waits for it gets it
            done.set_exception(error)
        else:
            done.set_result(None)

    # The context holds the application that the thread works for.
    Thread(target=copy_context().run, args=(run,), daemon=True, name="background").start()
    try:
        done.result(seconds)
    except TimeoutError:
        if done.done():
            raise
        return False
    return True
