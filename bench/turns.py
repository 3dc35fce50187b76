"""Two ways of doing something, in turns: how long each took, and how they compare."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from figures import Figure, at_least, ratio


@dataclass(frozen=True, slots=True)
class Took:
    """Time, and processor time of this process, which depends less on what else goes on."""

    seconds: float
    cpu: float


def timed(work: Callable[[], object]) -> Took:
    start, cpu = time.perf_counter(), time.process_time()
    work()
    return Took(time.perf_counter() - start, time.process_time() - cpu)


def ratios(name: str, peer: Sequence[Took], own: Sequence[Took], *, bound: float) -> list[Figure]:
    """How much of the peer's throughput is reached, round by round."""
    pairs = list(zip(peer, own, strict=True))
    times = [one.seconds / other.seconds for one, other in pairs]
    efforts = [one.cpu / other.cpu for one, other in pairs]
    return [
        ratio(f"{name}: throughput", times, goal=at_least(bound)),
        ratio(f"{name}: by processor time", efforts),
    ]
