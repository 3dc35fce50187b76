"""Measure the API under load, and watch for an hour whether it grows (`make load`, `make soak`).

Forty tenants; of five requests one writes. The generator keeps to its rate whatever happens, and an
answer's time counts from when its request was due. Everything runs on this machine, on servers that
are started for it; so each figure stands beside those of its peers, measured in the same run.

Exit codes: 0 every goal is reached; 1 one is missed; 2 the servers did not start.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

import anchor  # noqa: F401  # makes the backend's packages importable, so it is the first
import scene
import soak
import traffic
from embedded.errors import EmbeddedError
from embedded.signals import StopRequested, stop_on_signals
from figures import Figure, at_least, at_most
from figures import table as figures_table
from stage import Stage, staged
from traffic import Requests, Run, Summary, offer

_SHARE: Final = 0.6
_OVERLOAD: Final = 3.0
_UNLOADED_RATE: Final = 10.0
# More than any of them has threads, so that none is ever without work.
_CLIENTS: Final = 32
_SOAK_RATE: Final = 20.0
_BACK_WITHIN: Final = 30
# Peers that keep connections for each tenant shall not fail for want of them.
_MAX_CONNECTIONS: Final = 1000
# Beside the memory of all processes together.
_GROWTH: Final = 0.05


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """How long the phases take, in seconds."""

    steady: float
    short: float
    overload: float
    rounds: int


@dataclass
class Report:
    """What was found, in order."""

    phases: list[tuple[str, Summary]] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)

    def add(self, name: str, run: Run) -> Summary:
        """Told at once: the whole takes long."""
        summary = run.summary()
        self.phases.append((name, summary))
        core = f"{run.cpu_seconds / run.seconds:.2f} of a core"
        late = f"late by {run.lag_p99_ms:.0f} ms"
        told = f"{traffic.line(name, summary)}  generator: {core}, {late}"
        print(told, file=sys.stderr, flush=True)
        return summary

    @property
    def missed(self) -> list[str]:
        return [figure.name for figure in self.figures if figure.missed]

    def as_json(self) -> dict[str, Any]:
        return {
            "cores": os.cpu_count(),
            "other_load": os.getloadavg(),
            "phases": {name: summary.as_json() for name, summary in self.phases},
            "figures": [figure.as_json() for figure in self.figures],
        }


def main() -> int:
    """Measure what was asked for; the exit code."""
    arguments = _arguments()
    report = Report()
    try:
        with stop_on_signals(), staged(_MAX_CONNECTIONS) as stage:
            houses = scene.build(stage)
            if arguments.soak:
                _soak(stage, houses, report, seconds=arguments.soak, rate=arguments.rate)
            else:
                _load(stage, houses, report, _lengths(arguments), peers=not arguments.no_peers)
    except StopRequested:
        return 130
    except EmbeddedError as error:
        print(error, file=sys.stderr)
        return 2
    if arguments.json:
        print(json.dumps(report.as_json(), indent=2))
    else:
        print(traffic.table(report.phases))
        print(figures_table("goals", report.figures))
    return 1 if report.missed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--duration", type=float, default=600.0, help="seconds of the steady phases (600)"
    )
    parser.add_argument("--quick", action="store_true", help="short phases, less exact")
    parser.add_argument("--no-peers", action="store_true", help="none but the bare endpoint")
    parser.add_argument("--soak", type=float, metavar="SECONDS", help="only watch for growth")
    parser.add_argument("--rate", type=float, default=_SOAK_RATE, help="of the soak (20 a second)")
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser.parse_args()


def _lengths(arguments: argparse.Namespace) -> Lengths:
    if arguments.quick:
        return Lengths(steady=min(arguments.duration, 20), short=10, overload=20, rounds=2)
    return Lengths(steady=arguments.duration, short=60, overload=60, rounds=3)


# Under load.


def _load(
    stage: Stage, houses: list[scene.House], report: Report, lengths: Lengths, *, peers: bool
) -> None:
    with ExitStack() as stack:
        ours, _ = stack.enter_context(scene.product(stage, houses))
        bare = stack.enter_context(scene.bare(stage, houses))
        others = {}
        if peers:
            others["engine per tenant"] = stack.enter_context(scene.engines(stage, houses))
            others["django-tenants"] = stack.enter_context(scene.django(stage, houses))
        everyone = {"bare": bare, "product": ours, **others}
        best = _saturation(everyone, report, lengths)
        unloaded = report.add(
            "product, unloaded", offer(ours, seconds=lengths.short, rate=_UNLOADED_RATE)
        )
        for name, rate in (("bare", best["bare"]), ("product", best["product"])):
            _steady(ours, report, lengths, unloaded, of=name, rate=_SHARE * rate)
        _overload(ours, report, lengths, best["product"], rate=_OVERLOAD * _SHARE * best["bare"])
        for name, requests in others.items():
            run = offer(requests, seconds=lengths.short, rate=_SHARE * best["product"])
            report.add(f"{name}, at 0.6 of the product's", run)


def _saturation(
    everyone: dict[str, Requests], report: Report, lengths: Lengths
) -> dict[str, float]:
    """In turns; each is warm before it counts."""
    rates: dict[str, list[float]] = {name: [] for name in everyone}
    for requests in everyone.values():
        offer(requests, seconds=lengths.short / 4, clients=_CLIENTS)
    for number in range(lengths.rounds):
        for name, requests in everyone.items():
            run = offer(requests, seconds=lengths.short / 4, clients=_CLIENTS, seed=number)
            rates[name].append(report.add(f"{name}, as much as it can", run).done_per_second)
    best = {name: median(each) for name, each in rates.items()}
    report.figures += [
        Figure(name=f"saturation, {name}", value=rate, unit="/s") for name, rate in best.items()
    ]
    report.figures += [
        Figure(name=f"product / {name}", value=best["product"] / rate, unit="x")
        for name, rate in best.items()
        if name != "product"
    ]
    return best


def _steady(
    ours: Requests, report: Report, lengths: Lengths, unloaded: Summary, *, of: str, rate: float
) -> None:
    name = f"0.6 of what {of} can"
    found = report.add(f"product, {name}", offer(ours, seconds=lengths.steady, rate=rate))
    report.figures += [
        Figure(
            name=f"{name}: errors and refusals",
            value=found.failed + found.refused,
            goal=at_most(0),
            note=f"{found.offered} requests",
        ),
        Figure(
            name=f"{name}: p99 / unloaded median",
            value=found.p99_ms / unloaded.p50_ms,
            unit="x",
            goal=at_most(10),
            note=f"{found.p99_ms:.3g} ms / {unloaded.p50_ms:.3g} ms",
        ),
    ]


def _overload(
    ours: Requests, report: Report, lengths: Lengths, best: float, *, rate: float
) -> None:
    found = report.add(
        "product, three times that", offer(ours, seconds=lengths.overload, rate=rate)
    )
    after = offer(ours, seconds=2 * _BACK_WITHIN, rate=_SHARE * best)
    report.add("product, afterwards", after)
    report.figures += [
        Figure(
            name="overload: goodput / best",
            value=found.done_per_second / best,
            unit="x",
            goal=at_least(0.8),
            note=f"{found.done_per_second:.0f} of {found.offered_per_second:.0f} a second",
        ),
        Figure(name="overload: errors", value=found.failed, goal=at_most(0)),
        Figure(
            name="overload: refusals' p99", value=found.refused_p99_ms, unit="ms", goal=at_most(100)
        ),
        Figure(
            name="overload: back to normal after",
            value=_seconds_until_normal(after),
            unit="s",
            goal=at_most(_BACK_WITHIN),
        ),
    ]


def _seconds_until_normal(after: Run) -> float:
    """The last second in which anything was refused, or took ten times what the later ones do."""
    normal = 10 * after.between(after.seconds / 2, after.seconds).p50_ms
    bad = [
        second + 1
        for second, each in _by_second(after)
        if each.refused or each.failed or each.p99_ms > normal
    ]
    late = [second for second in bad if second > _BACK_WITHIN]
    # A single slow second long afterwards is the machine's; a system that stays ill has many.
    return float(max(bad, default=0) if len(late) > 1 else max(set(bad) - set(late), default=0))


def _by_second(run: Run) -> Iterator[tuple[int, Summary]]:
    for second in range(int(run.seconds)):
        yield second, run.between(second, second + 1)


# Over time.


def _soak(
    stage: Stage, houses: list[scene.House], report: Report, *, seconds: float, rate: float
) -> None:
    with scene.product(stage, houses) as (ours, api), scene.behind(stage) as behind:
        roots = [api.pid, *(child.pid for child in behind)]
        with soak.watched(stage.admin_url, roots, every=min(15.0, seconds / 100)) as watch:
            run = offer(ours, seconds=seconds, rate=rate)
    found = report.add(f"product, {seconds / 60:.0f} minutes", run)
    report.figures.append(Figure(name="soak: errors", value=found.failed, goal=at_most(0)))
    for each in soak.growth(watch.looks):
        report.figures.append(
            Figure(
                name=f"soak: {each.name}, after / before",
                value=each.after / each.before,
                unit="x",
                goal=at_most(1 + _GROWTH),
                note=f"{each.before:.4g} → {each.after:.4g}",
            )
        )


if __name__ == "__main__":
    sys.exit(main())
