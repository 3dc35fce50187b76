"""One fault: what is done, what has to hold afterwards, and what is told of it."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from tests.faults import canaries, invariants
from tests.faults.forms import Form
from tests.faults.invariants import Condition, few
from tests.faults.journal import Journal
from tests.faults.report import Figure, Outcome
from tests.faults.stage import Stage

_DRAINED_WITHIN: Final = 60.0

Figures = dict[str, Figure]


@dataclass
class Trial:
    """What a fault has at hand; the journals of its load are checked when it is over."""

    stage: Stage
    form: Form
    chance: random.Random
    journals: list[Journal] = field(default_factory=list)

    @contextmanager
    def load(self, **how: Any) -> Iterator[Journal]:
        with self.stage.load(**how) as journal:
            self.journals.append(journal)
            yield journal

    def says(self, *parts: str, since: float) -> float:
        """Seconds until /health/ready named one of the parts."""
        return self.stage.watch.says({*parts}, since=since, patience=self.form.patience)

    def recovers(self, *, since: float) -> float:
        """Seconds until it said that all is well."""
        return self.stage.watch.recovers(since=since, patience=self.form.patience)


@dataclass(frozen=True)
class Fault:
    """``interrupts`` says that requests may stay without an answer: it ends the API itself.

    A control takes a protection away, and asserts that the checks find what comes of it.
    """

    name: str
    run: Callable[[Trial], Figures]
    short: bool = True
    interrupts: bool = False
    control: bool = False


FAULTS: Final[dict[str, Fault]] = {}


def fault(
    name: str, **options: bool
) -> Callable[[Callable[[Trial], Figures]], Callable[[Trial], Figures]]:
    """Adds the function to what is done, in the order in which they are stated."""

    def decorate(run: Callable[[Trial], Figures]) -> Callable[[Trial], Figures]:
        assert name not in FAULTS
        FAULTS[name] = Fault(name, run, **options)
        return run

    return decorate


def perform(
    stage: Stage, chosen: Fault, form: Form, chance: random.Random, before: Condition
) -> Outcome:
    """The outcome; what does not hold is its failure."""
    trial, begun = Trial(stage, form, chance), time.monotonic()
    logged = canaries.lengths(stage)
    outcome = Outcome(chosen.name, 0.0, {})
    try:
        outcome.figures |= chosen.run(trial)
        if not chosen.control:
            outcome.figures |= _examine(trial, chosen, before, begun)
            assert not (found := canaries.traces(stage, after=logged)), few(found)
    except AssertionError as error:
        outcome.failure = str(error)
    finally:
        outcome.seconds = time.monotonic() - begun
    return outcome


def _examine(trial: Trial, chosen: Fault, before: Condition, begun: float) -> Figures:
    stage, form = trial.stage, trial.form
    found: list[str] = []
    for journal in trial.journals:
        found += invariants.wrong_answers(stage, journal, unanswered=chosen.interrupts)
        found += invariants.missing_writes(stage, journal)
    if not chosen.interrupts:
        found += [f"/health was not 200: {look}" for look in stage.watch.dead(since=begun)]
    drained = invariants.drained(stage, seconds=form.patience * _DRAINED_WITHIN)
    found += invariants.rows_without_event(stage)
    found += invariants.lost_and_doubled(stage)
    found += invariants.stray_and_missing_objects(stage)
    found += canaries.strangers(stage)
    found += _settled(trial, before)
    assert not found, few(found)
    writes = sum(journal.writes for journal in trial.journals)
    refused = {f"{k}": v for journal in trial.journals for k, v in journal.refused().items()}
    told: Figures = {"writes": writes, "drained after": drained}
    return told | {f"answered {status}": count for status, count in refused.items()}


def _settled(trial: Trial, before: Condition) -> list[str]:
    """Connections and memory are given back; some need a moment."""
    deadline = time.monotonic() + 30 * trial.form.patience
    while True:
        found = invariants.grown(before, invariants.condition(trial.stage))
        if stuck := invariants.stuck(trial.stage):
            found.append(f"{stuck} transactions are stuck")
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.5)
