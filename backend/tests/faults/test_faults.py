"""The whole product, as real processes on real servers, and everything that may happen to it.

`make faults` does all of it at length; an ordinary run what fits into two minutes. What is done by
chance follows from SEED, which is told.
"""

import os
from collections.abc import Iterator

import pytest

from embedded.real import explain_missing, missing
from tests.faults import forms, invariants, servers
from tests.faults import scenarios as scenarios  # noqa: PLC0414  # they state the faults
from tests.faults.forms import Seed
from tests.faults.invariants import Condition
from tests.faults.report import Report
from tests.faults.stage import Stage, staged
from tests.faults.trial import FAULTS, Fault, perform
from tests.paths import PROJECT

# What kafka-python could not connect, it does not close.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")]

_FORM = forms.chosen()
_ASKED_FOR = "FAULTS" in os.environ
_FOLDER = PROJECT / ".data" / "faults"


def _rounds() -> list[list[Fault]]:
    """Each alone where somebody asked for them; else one round, because they share the stage."""
    if _ASKED_FOR:
        return [[each] for each in FAULTS.values()]
    return [[each for each in FAULTS.values() if each.short]]


@pytest.fixture(scope="module")
def stage(
    server_urls: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Stage, Condition]]:
    """With its condition, once everybody has been at work."""
    if not _ASKED_FOR and not server_urls.get("kafka"):
        pytest.skip("needs real servers: scripts/services.py run")
    if absent := missing(servers.NAMES):
        pytest.fail(explain_missing(absent))
    with staged(tmp_path_factory.mktemp("faults")) as stage:
        with stage.load():
            servers.until(lambda: len(stage.watch.looks) > 10, "a few looks")
        yield stage, invariants.condition(stage)


@pytest.fixture(scope="module")
def seed() -> Seed:
    return Seed()


@pytest.fixture(scope="module")
def report(seed: Seed) -> Report:
    return Report(_FORM.name, seed.number, _FOLDER if _ASKED_FOR else None)


@pytest.mark.parametrize(
    "chosen", _rounds(), ids=lambda chosen: chosen[0].name if len(chosen) == 1 else "all"
)
def test_it_is_survived(
    chosen: list[Fault], stage: tuple[Stage, Condition], seed: Seed, report: Report
) -> None:
    there, before = stage
    outcomes = []
    for each in chosen:
        outcome = perform(there, each, _FORM, seed.for_(each.name), before)
        outcomes.append(outcome)
        report.add(outcome)
        said = f"\n{outcome.seconds:5.1f} s  {each.name}: {outcome.failure or outcome.figures}"
        print(said, flush=True)  # noqa: T201  # for who waits
    failures = [f"{each.fault}: {each.failure}" for each in outcomes if each.failure]
    assert not failures, f"SEED={seed.number}\n" + "\n".join(failures)
