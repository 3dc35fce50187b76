"""Drives a contender with several threads, and counts what the server sees of it."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import psycopg

from contenders import Contender
from houses import House

# More requests of one tenant at a time than TENANT_CONNECTIONS_PER_TENANT (4) have connections and
# TENANT_WAITERS_PER_TENANT (2) may wait are refused, by design: no tenant gets more threads here.
THREADS: Final = 6
# Seldom: looking costs the contender time.
_LOOK_EVERY: Final = 0.1
_SECONDS_TO_END: Final = 20.0

Draw = Callable[[random.Random], House]


@dataclass(kw_only=True)
class Outcome:
    """What happened in some seconds."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    answered: int = 0
    errors: Counter[str] = field(default_factory=Counter)

    @property
    def per_second(self) -> float:
        return self.answered / self.seconds

    @property
    def cpu_per_request(self) -> float:
        return self.cpu_seconds / self.answered


def drive(contender: Contender, draw: Draw, *, seconds: float, seed: int) -> Outcome:
    """Requests without a pause between them until the time is up, each thread its own stream."""
    start = time.perf_counter()

    def work(number: int) -> Outcome:
        own = Outcome()
        chance = random.Random(f"{seed}/{number}")
        while time.perf_counter() - start < seconds:
            _answer(contender, draw(chance), own)
        return own

    with ThreadPoolExecutor(THREADS) as pool:
        each = list(pool.map(work, range(THREADS)))
    return _together(each, time.perf_counter() - start)


def visit(contender: Contender, houses: Sequence[House]) -> Outcome:
    """One request for each of the houses, in their order, by all threads."""
    start = time.perf_counter()

    def work(number: int) -> Outcome:
        own = Outcome()
        for house in houses[number::THREADS]:
            _answer(contender, house, own)
        return own

    with ThreadPoolExecutor(THREADS) as pool:
        each = list(pool.map(work, range(THREADS)))
    return _together(each, time.perf_counter() - start)


def _answer(contender: Contender, house: House, outcome: Outcome) -> None:
    try:
        contender.answer(house)
    except Exception as error:  # noqa: BLE001  # errors are a figure here, and shown
        outcome.errors[type(error).__name__] += 1
    else:
        outcome.answered += 1


def _together(each: Sequence[Outcome], seconds: float) -> Outcome:
    return Outcome(
        seconds=seconds,
        answered=sum(own.answered for own in each),
        errors=sum((own.errors for own in each), Counter()),
    )


class Watch:
    """Looks, from the server's side, how many tenants' sessions there are."""

    def __init__(self, admin_url: str) -> None:
        self._connection = psycopg.connect(admin_url, autocommit=True)
        self._end = threading.Event()
        self.samples: list[int] = []

    def sessions(self) -> int:
        row = self._connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE usename LIKE 'tenant\\_%'"
        ).fetchone()
        return 0 if row is None else int(row[0])

    def wait_until_none(self) -> None:
        """A server process ends a little after its client has closed."""
        deadline = time.monotonic() + _SECONDS_TO_END
        while self.sessions():
            if time.monotonic() > deadline:
                raise TimeoutError("tenants' sessions are left over")
            time.sleep(_LOOK_EVERY)

    def run(self) -> None:
        while not self._end.wait(_LOOK_EVERY):
            self.samples.append(self.sessions())

    def stop(self) -> None:
        self._end.set()

    def close(self) -> None:
        self._connection.close()


@contextmanager
def watched(admin_url: str) -> Iterator[Watch]:
    watch = Watch(admin_url)
    thread = threading.Thread(target=watch.run)
    thread.start()
    try:
        yield watch
    finally:
        watch.stop()
        thread.join()
        watch.close()
