"""The same work for many, several at a time, in memory that does not grow with their number."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_batches(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    jobs: int,
    go_on: Callable[[], bool] = lambda: True,
) -> Iterator[list[Result]]:
    """What was done since the last batch, until all is. ``go_on`` is asked before each is begun.

    ``work`` runs in threads, in the caller's context; the consumer in its own. While that is busy,
    as many items wait to be begun as there are threads.
    """

    def begin(item: Item) -> list[Result]:
        return [work(item)] if go_on() else []

    left = iter(items)
    running: set[Future[list[Result]]] = set()
    with ThreadPoolExecutor(jobs) as pool:
        while True:
            room = 2 * jobs - len(running)
            running |= {
                pool.submit(copy_context().run, begin, each)
                for each in islice(left, room)
                if go_on()
            }
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield [result for each in done for result in each.result()]


def in_parallel(
    work: Callable[[Item], Result], items: Iterable[Item], *, jobs: int
) -> Iterator[Result]:
    """Results one by one, in the order they are done."""
    for batch in in_batches(work, items, jobs=jobs):
        yield from batch
