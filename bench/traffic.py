"""What clients send, and how it went: the generator's end of a measurement that we hold."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from embedded.ports import LOOPBACK
from generator import BROKEN, LATE, MARK

# Of five requests, one changes a document and four read a page of fifty.
WRITE_SHARE: Final = 0.2

_GENERATOR: Final = Path(__file__).with_name("generator.py")
_OK: Final = 200
_REFUSED: Final = frozenset({429, 503})
_SECONDS_TO_END: Final = 60.0
_SECOND: Final = 1000.0  # in ms


class Sample(NamedTuple):
    """A request: when it was due, how long after that its answer was there, and which it was."""

    due_ms: float
    latency_ms: float
    status: int
    writes: bool


@dataclass(frozen=True)
class Requests:
    """Where they go, and what they are: one of each for every tenant."""

    port: int
    reads: list[str]
    writes: list[str]


@dataclass(frozen=True)
class Summary:
    """One phase. Times are of what was done; what was refused has one of its own."""

    seconds: float
    offered: int
    done: int
    refused: int
    errors: dict[str, int]
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    refused_p99_ms: float

    @property
    def offered_per_second(self) -> float:
        return self.offered / self.seconds

    @property
    def done_per_second(self) -> float:
        return self.done / self.seconds

    @property
    def failed(self) -> int:
        return sum(self.errors.values())

    def as_json(self) -> dict[str, Any]:
        rates = {"offered_per_second": self.offered_per_second}
        rates["done_per_second"] = self.done_per_second
        return asdict(self) | {name: round(rate, 1) for name, rate in rates.items()}


@dataclass(frozen=True)
class Run:
    """All that a generator saw in some seconds, and what it took itself."""

    seconds: float
    samples: list[Sample]
    lag_p99_ms: float
    cpu_seconds: float

    def summary(self) -> Summary:
        return summary_of(self.samples, self.seconds)

    def between(self, start: float, end: float) -> Summary:
        """Of what was due in these seconds."""
        within = [each for each in self.samples if start <= each.due_ms / 1000 < end]
        return summary_of(within, end - start)


def offer(
    requests: Requests,
    *,
    seconds: float,
    rate: float | None = None,
    clients: int = 8,
    write_share: float = WRITE_SHARE,
    seed: int = 1,
    patience: float = 10.0,
) -> Run:
    """`rate` requests a second; without one, as many as the clients get answered."""
    plan = {
        "host": LOOPBACK,
        "port": requests.port,
        "seconds": seconds,
        "reads": requests.reads,
        "writes": requests.writes,
        "write_share": write_share,
        "rate": rate,
        "clients": clients,
        "seed": seed,
        "patience": patience,
    }
    told = subprocess.run(
        [sys.executable, _GENERATOR],
        input=json.dumps(plan),
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds + _SECONDS_TO_END,
    )
    if told.returncode:
        raise RuntimeError(told.stderr)
    told_of = json.loads(told.stdout)
    return Run(
        seconds=seconds,
        samples=[Sample(*each) for each in told_of["samples"]],
        lag_p99_ms=told_of["lag_p99_ms"],
        cpu_seconds=told_of["cpu_seconds"],
    )


def summary_of(samples: Sequence[Sample], seconds: float) -> Summary:
    done = sorted(each.latency_ms for each in samples if each.status == _OK)
    refused = sorted(each.latency_ms for each in samples if each.status in _REFUSED)
    errors = Counter(
        _name(each.status) for each in samples if each.status != _OK and each.status not in _REFUSED
    )
    return Summary(
        seconds=seconds,
        offered=len(samples),
        done=len(done),
        refused=len(refused),
        errors=dict(errors),
        p50_ms=percentile(done, 50),
        p95_ms=percentile(done, 95),
        p99_ms=percentile(done, 99),
        max_ms=percentile(done, 100),
        refused_p99_ms=percentile(refused, 99),
    )


def percentile(ordered: Sequence[float], percent: int) -> float:
    """The least value that so many percent do not exceed (nearest rank); 0 of none."""
    if not ordered:
        return 0.0
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def _name(status: int) -> str:
    return {BROKEN: "broken off", LATE: "timed out"}.get(status, str(status))


def get(path: str, *headers: str, host: str = LOOPBACK) -> str:
    return "\r\n".join([f"GET {path} HTTP/1.1", f"Host: {host}", *headers, "", ""])


def rename(path: str, *headers: str, host: str = LOOPBACK) -> str:
    """A PATCH that gives a document a name which it does not have yet."""
    body = f'{{"name": "Report {MARK.decode()}.pdf"}}'
    lines = [f"PATCH {path} HTTP/1.1", f"Host: {host}", "Content-Type: application/json"]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", *headers, "", body])


_HEAD: Final = (
    *("phase", "offered/s", "done/s", "refused", "errors"),
    *("p50", "p95", "p99", "max", "refusals' p99"),
)


def table(rows: Iterable[tuple[str, Summary]]) -> str:
    """As Markdown, for docs/operations.md."""
    lines = [f"| {' | '.join(_HEAD)} |", "|---" * len(_HEAD) + "|"]
    return "\n".join([*lines, *(line(name, summary) for name, summary in rows)])


def line(name: str, summary: Summary) -> str:
    errors = ", ".join(f"{count} {what}" for what, count in summary.errors.items())
    times = (summary.p50_ms, summary.p95_ms, summary.p99_ms, summary.max_ms)
    cells = [
        *(name, f"{summary.offered_per_second:.0f}", f"{summary.done_per_second:.0f}"),
        *(str(summary.refused), errors or "0", *map(_milliseconds, times)),
        _milliseconds(summary.refused_p99_ms) if summary.refused else "",
    ]
    return f"| {' | '.join(cells)} |"


def _milliseconds(value: float) -> str:
    return f"{value:.3g} ms" if value < _SECOND else f"{value / _SECOND:.3g} s"
