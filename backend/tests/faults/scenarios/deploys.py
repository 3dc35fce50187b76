"""The API told to end or to load anew, and killed while it is sent bytes."""

import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from embedded.ports import LOOPBACK
from tests.domains.documents.test_killed_uploads import begin_upload
from tests.faults.journal import Journal
from tests.faults.servers import until
from tests.faults.stage import Stage
from tests.faults.trial import Figures, Trial, fault
from tests.faults.writers import writing
from tests.integrations.faults import faulty

# What a balancer and Kubernetes' preStop leave between the last new connection and TERM.
_DRAIN_SECONDS = 0.5


@fault("HUP under load")
def hup(trial: Trial) -> Figures:
    """New workers take over; whoever was being served is served."""
    programs = trial.stage.programs
    with trial.load() as journal:
        for _ in range(trial.form.deploys):
            former = programs.children("api")
            programs.tell("api", signal.SIGHUP)
            _until_others_serve(trial, former)
            _some_answers(journal)
    assert not journal.refused(), journal.refused()
    return {"deploys": trial.form.deploys, "requests": journal.requests, "dropped": 0}


def _until_others_serve(trial: Trial, former: set[int]) -> None:
    until(
        lambda: len(now := trial.stage.programs.children("api")) >= 2 and not now & former,
        "new workers in place of the former",
    )


@fault("TERM under load", short=False)
def term(trial: Trial) -> Figures:
    """Another API takes over behind a balancer; the former ends what it had."""
    with _behind_a_balancer(trial) as (journal, replace):
        for _ in range(trial.form.deploys):
            replace(signal.SIGTERM)
            _some_answers(journal)
    assert not journal.unanswered, journal.unanswered[:3]
    assert not journal.refused(), journal.refused()
    return {"deploys": trial.form.deploys, "requests": journal.requests, "dropped": 0}


@fault("control: an API that is killed drops requests", short=False, control=True)
def killed(trial: Trial) -> Figures:
    with _behind_a_balancer(trial) as (journal, replace):
        until(lambda: _dropped(journal, replace), "a request that is dropped", seconds=120)
    return {"dropped": len(journal.unanswered)}


def _dropped(journal: Journal, replace: Callable[[signal.Signals], None]) -> bool:
    replace(signal.SIGKILL)
    return bool(journal.unanswered)


@contextmanager
def _behind_a_balancer(
    trial: Trial,
) -> Iterator[tuple[Journal, Callable[[signal.Signals], None]]]:
    """Writers by way of a balancer; and how the API behind it is replaced by another."""
    programs = trial.stage.programs
    with faulty(LOOPBACK, programs.port) as balancer:

        def turn(port: int) -> None:
            balancer.upstream = (LOOPBACK, port)
            time.sleep(_DRAIN_SECONDS)

        with writing(balancer.url, trial.stage.tenants) as journal:
            trial.journals.append(journal)
            yield journal, partial(programs.replace_api, turn)


def _some_answers(journal: Journal) -> None:
    aim = journal.requests + 20
    until(lambda: journal.requests >= aim, "requests")


@fault("API killed while it is sent bytes", short=False, interrupts=True)
def uploads(trial: Trial) -> Figures:
    """Nothing half is there for anybody; what is left has a row, by which the sweep finds it."""
    stage = trial.stage
    tenant = stage.tenants[0]
    token = tenant.person.tokens["access_token"]
    before = _pending(stage)
    for number in range(1, trial.form.upload_kills + 1):
        with _broken_upload(stage, token):
            _wait_for_pending(stage, before + number)
            former = stage.programs.children("api")
            stage.programs.kill_children("api")
            _until_others_serve(trial, former)
    stage.programs.wait("api")
    with trial.load():
        time.sleep(0.5)
    with stage.as_superuser(tenant.house.database) as connection:
        half = connection.execute(
            "SELECT count(*) FROM documents JOIN files ON files.id = file_id"
            " WHERE files.state <> 'available'"
        ).fetchone()
    assert half == (0,)
    return {"kills": trial.form.upload_kills, "left to the sweep": _pending(stage) - before}


def _wait_for_pending(stage: Stage, count: int) -> None:
    until(lambda: _pending(stage) == count, "the upload's row")


def _pending(stage: Stage) -> int:
    with stage.as_superuser(stage.tenants[0].house.database) as connection:
        row = connection.execute("SELECT count(*) FROM files WHERE state = 'pending'").fetchone()
    return 0 if row is None else int(row[0])


def _broken_upload(stage: Stage, token: str) -> socket.socket:
    return begin_upload(stage.programs.url, stage.tenants[0].house, token)
