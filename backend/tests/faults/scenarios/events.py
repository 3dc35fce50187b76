"""Processes killed between a commit and what follows from it."""

import itertools
import time
from typing import Final

from tests.faults.servers import until
from tests.faults.trial import Figures, Trial, fault

_VICTIMS: Final = (
    "API behind a commit",
    "relay",
    "consumer",
    "Celery's child",
    "Celery's worker",
)


@fault("API, relay, consumer and workers killed", interrupts=True)
def killed(trial: Trial) -> Figures:
    """Each as often as all others, at moments by chance; what is gone is started again at once."""
    programs = trial.stage.programs
    order = list(itertools.chain.from_iterable([_VICTIMS] * trial.form.kills))
    trial.chance.shuffle(order)
    with trial.load(files_every=0.5) as journal:
        for victim in order:
            time.sleep(trial.chance.uniform(0.05, 1.0))
            _kill(trial, victim)
            programs.revive()
        lost = len(journal.unanswered)
    until(lambda: not programs.revive() and bool(programs.children("worker")), "Celery's children")
    for name in ("relay", "consumer", "worker"):
        programs.wait(name)
    return {"kills": len(order), "requests cut off": lost}


def _kill(trial: Trial, victim: str) -> None:
    programs = trial.stage.programs
    if victim == "API behind a commit":
        programs.die.touch()
        until(lambda: not programs.die.exists(), "a commit that tells an event")
    elif victim == "Celery's child":
        until(
            lambda: not programs.revive() and bool(programs.children("worker")),
            "a child of Celery's",
        )
        programs.kill_child("worker", trial.chance.choice)
    else:
        name = "worker" if victim == "Celery's worker" else victim
        programs.kill(name)
        programs.begin(name)
