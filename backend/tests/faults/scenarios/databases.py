"""PostgreSQL killed, slow, silent, and without a connection left."""

import signal
import time
from contextlib import ExitStack

import psycopg

from tests.faults.journal import Journal
from tests.faults.servers import until
from tests.faults.trial import Figures, Trial, fault
from tests.integrations.faults import Fault

_SLOWLY = 0.02


@fault("PostgreSQL killed during writes")
def killed(trial: Trial) -> Figures:
    stage, server = trial.stage, trial.stage.servers.postgres
    says, recovers = [], []
    with trial.load(files_every=3.0, pause=0.0) as journal:
        for _ in range(trial.form.database_kills):
            aim = journal.writes + trial.form.writes_between_kills
            _wait_for_writes(journal, aim)
            # At once without a word, or by an immediate shutdown: both recover from the log.
            begun = time.monotonic()
            stage.servers.kill(server, trial.chance.choice((signal.SIGKILL, signal.SIGQUIT)))
            says.append(trial.says("main_database", since=begun))
            begun = time.monotonic()
            stage.servers.start(server)
            recovers.append(trial.recovers(since=begun))
    return {"kills": len(says), "said after": max(says), "ready after": max(recovers)}


def _wait_for_writes(journal: Journal, aim: int) -> None:
    until(lambda: journal.writes >= aim, "writes", seconds=600)


@fault("PostgreSQL slow", short=False)
def slow(trial: Trial) -> Figures:
    """Every exchange takes longer; nothing is refused that had its time."""
    with trial.load() as journal:
        with trial.stage.servers.broken("postgres", Fault.SLOW, delay=_SLOWLY):
            time.sleep(trial.form.away_seconds)
        begun = time.monotonic()
        recovers = trial.recovers(since=begun)
    return {"slowest": journal.slowest, "ready after": recovers}


@fault("PostgreSQL silent", short=False)
def silent(trial: Trial) -> Figures:
    """What was sent is lost in a network that says nothing, and the connections stay."""
    with trial.load() as journal:
        begun = time.monotonic()
        with trial.stage.servers.broken("postgres", Fault.HELD):
            says = trial.says("main_database", since=begun)
            time.sleep(trial.form.away_seconds)
        recovers = trial.recovers(since=time.monotonic())
    return {"said after": says, "ready after": recovers, "slowest": journal.slowest}


@fault("PostgreSQL's connections used up", short=False)
def used_up(trial: Trial) -> Figures:
    """Somebody has them all, and the product's own were ended."""
    stage = trial.stage
    with trial.load(), ExitStack() as stack:
        with ExitStack() as hoard:
            mine = hoard.enter_context(stage.as_superuser())
            mine.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )
            begun = time.monotonic()
            until(lambda: _take_all(trial, hoard), "the last connection")
            says = trial.says("main_database", "tenants_server", since=begun)
            time.sleep(trial.form.away_seconds)
        stack.close()
        recovers = trial.recovers(since=time.monotonic())
    return {"said after": says, "ready after": recovers}


def _take_all(trial: Trial, hoard: ExitStack) -> bool:
    try:
        while True:
            hoard.enter_context(trial.stage.as_superuser())
    except psycopg.OperationalError:
        return True
