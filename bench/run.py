"""Run the benchmarks and compare the figures with their goals (`make bench`).

Ratios count, not times: each figure stands beside a peer that was measured in the same run, in
turns. The exit code is 1 when a goal is missed.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import anchor  # noqa: F401  # makes the backend's packages importable, so it is the first
import connections
import events
import files
import fleet
import lists
import pgbouncer
import provisioning
from embedded.errors import EmbeddedError
from embedded.signals import StopRequested, stop_on_signals
from figures import Figure, table
from stage import Stage, staged


class Benchmark(Protocol):
    def __call__(self, stage: Stage, *, quick: bool) -> list[Figure]: ...


_BENCHMARKS: Final[dict[str, Benchmark]] = {
    "provisioning": provisioning.measure,
    "connections": connections.measure,
    "files": files.measure,
    "lists": lists.measure,
    "fleet": fleet.measure,
    "events": events.measure,
    "pgbouncer": pgbouncer.measure,
}


def main() -> int:
    """Run what was asked for; the exit code."""
    arguments = _arguments()
    results: dict[str, list[Figure]] = {}
    try:
        with stop_on_signals():
            for name in arguments.benchmarks or _BENCHMARKS:
                results[name] = _run(name, quick=arguments.quick)
                if not arguments.json:
                    print(table(name, results[name]), flush=True)
    except StopRequested:
        return 130
    except EmbeddedError as error:
        print(error, file=sys.stderr)
        return 2
    missed = [figure.name for figures in results.values() for figure in figures if figure.missed]
    if arguments.json:
        print(json.dumps(_document(results), indent=2, ensure_ascii=False))
    else:
        print(f"\nMissed: {', '.join(missed)}." if missed else "\nEvery goal is reached.")
    return 1 if missed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "benchmarks", nargs="*", metavar="NAME", help=f"of {', '.join(_BENCHMARKS)}; default: all"
    )
    parser.add_argument("--quick", action="store_true", help="smaller and less exact")
    parser.add_argument("--json", action="store_true", help="for programs")
    arguments = parser.parse_args()
    for name in arguments.benchmarks:
        if name not in _BENCHMARKS:
            parser.error(f"there is no benchmark {name!r}")
    return arguments


def _run(name: str, *, quick: bool) -> list[Figure]:
    """Each on a stage of its own, so that none finds what another left behind."""
    start = time.monotonic()
    print(f"Measuring {name} …", file=sys.stderr, flush=True)
    with staged() as stage:
        figures = _BENCHMARKS[name](stage, quick=quick)
    print(f"… {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    return figures


def _document(results: Mapping[str, Sequence[Figure]]) -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "figures": {
            name: [figure.as_json() for figure in figures] for name, figures in results.items()
        },
    }


if __name__ == "__main__":
    sys.exit(main())
