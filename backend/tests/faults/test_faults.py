"""The whole product, as real processes on real servers, and everything that may happen to it.

`make faults` does all of it at length, `make faults FORM=short` some of it with few kills. Both
want the machine for themselves. What is done by chance follows from SEED, which is told.
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
from tests.faults.trial import FAULTS, perform
from tests.paths import PROJECT

# What kafka-python could not connect, it does not close.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")]

_FORM = forms.chosen()
_FOLDER = PROJECT / ".data" / "faults"


@pytest.fixture(scope="module")
def stage(
    server_urls: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Stage, Condition]]:
    """With its condition, once everybody has been at work."""
    if "FAULTS" not in os.environ:
        pytest.skip("takes minutes, and the machine for itself: make faults")
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
    return Report(_FORM.name, seed.number, _FOLDER)


@pytest.mark.parametrize(
    "name", [each.name for each in FAULTS.values() if each.short or _FORM is forms.WHOLE]
)
def test_it_is_survived(
    name: str, stage: tuple[Stage, Condition], seed: Seed, report: Report
) -> None:
    there, before = stage
    outcome = perform(there, FAULTS[name], _FORM, seed.for_(name), before)
    report.add(outcome)
    said = f"\n{outcome.seconds:5.1f} s  {name}: {outcome.failure or outcome.figures}"
    print(said, flush=True)  # noqa: T201  # for who waits
    assert not outcome.failure, f"SEED={seed.number}\n{outcome.failure}"
