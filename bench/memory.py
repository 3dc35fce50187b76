"""How much a process grows with each further tenant that it has served."""

import gc
import os
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from contenders import Budgeted, Contender, EnginePerTenant
from figures import Figure, at_most
from houses import House
from stage import Stage

_BUDGET: Final = 40
# Engines keep their connections: as many of them as every server allows.
_MOST_ENGINES: Final = 80
_GOAL: Final = at_most(5)
_STATM: Final = Path("/proc/self/statm")
_KB: Final = 1024

Bytes = Callable[[], int]


def measure(stage: Stage, houses: Sequence[House]) -> list[Figure]:
    """Growth between having visited N and 2 N tenants, in KB (of 1024 bytes) for each.

    N is far above the budget, so that the product has closed connections for others all along.
    Measure before anything else has filled the process with memory that can be used again.
    """
    some = len(houses) // 2
    figures = []
    if _STATM.exists():
        contender = Budgeted(stage, budget=_BUDGET)
        figures.append(_figure("product, resident", _growth(contender, houses, some, _resident)))
    with _traced():
        contender = Budgeted(stage, budget=_BUDGET)
        ours = _growth(contender, houses, some, _allocated)
        engines = EnginePerTenant(stage.manager.server)
        theirs = _growth(engines, houses, min(some, _MOST_ENGINES), _allocated)
    return [
        Figure(
            name="memory per further tenant, product",
            value=ours,
            unit="KB",
            goal=_GOAL,
            note=f"Python's allocations, {some} → {2 * some} tenants",
        ),
        *figures,
        _figure("engine per tenant", theirs),
    ]


def _figure(name: str, value: float) -> Figure:
    return Figure(name=f"memory per further tenant, {name}", value=value, unit="KB")


def _growth(contender: Contender, houses: Sequence[House], some: int, measured: Bytes) -> float:
    try:
        parts = (houses[:some], houses[some : 2 * some])
        sizes = [_after(contender, part, measured) for part in parts]
    finally:
        contender.close()
    return (sizes[1] - sizes[0]) / some / _KB


def _after(contender: Contender, houses: Sequence[House], measured: Bytes) -> int:
    for house in houses:
        contender.answer(house)
    gc.collect()
    return measured()


@contextmanager
def _traced() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


def _allocated() -> int:
    return tracemalloc.get_traced_memory()[0]


def _resident() -> int:
    """Linux, proc(5): the second field is in pages."""
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
