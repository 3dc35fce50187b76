"""The same work for many, several at a time, in memory that does not grow with their number."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_parallel(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    jobs: int,
    go_on: Callable[[], bool] = lambda: True,
) -> Iterator[Result]:
    """Results as they come. Once ``go_on`` says no, nothing is begun and all that runs is awaited.

    ``work`` runs in threads, the consumer in its own.
    """
    left = iter(items)
    running: set[Future[Result]] = set()
    with ThreadPoolExecutor(jobs) as pool:
        while True:
            if go_on():
                running |= {pool.submit(work, each) for each in islice(left, jobs - len(running))}
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for each in done:
                yield each.result()
