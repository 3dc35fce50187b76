"""The file store answering errors, slow, broken off in the middle, and full."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.faults.journal import Journal
from tests.faults.servers import until
from tests.faults.trial import Figures, Trial, fault
from tests.integrations.faults import Fault

_UPLOAD = "POST /api/tenants/{tenant_id}/documents"
_OFTEN = 0.1
_FEW_BYTES = 400
_MIB = 1024**2


@fault("S3 answers errors")
def errors(trial: Trial) -> Figures:
    return _broken(trial, Fault.ERROR)


@fault("S3 breaks off in the middle of what it is sent", short=False)
def reset(trial: Trial) -> Figures:
    return _broken(trial, Fault.RESET_SENT, passes=_FEW_BYTES)


@fault("S3 breaks off in the middle of its answers", short=False)
def reset_answers(trial: Trial) -> Figures:
    return _broken(trial, Fault.RESET_RECEIVED, passes=_FEW_BYTES)


@fault("S3 silent", short=False)
def silent(trial: Trial) -> Figures:
    return _broken(trial, Fault.SILENT)


@fault("S3 slow", short=False)
def slow(trial: Trial) -> Figures:
    """A narrow way takes its time; that is no fault."""
    with trial.load(files_every=_OFTEN) as journal:
        with trial.stage.servers.broken("s3", Fault.NARROW, passes=20_000):
            time.sleep(trial.form.away_seconds)
        recovers = trial.recovers(since=time.monotonic())
    return {"uploads": journal.statuses[_UPLOAD, 201], "ready after": recovers}


def _broken(trial: Trial, kind: Fault, **how: int) -> Figures:
    """Uploads are refused and leave nothing half; all else goes on."""
    with trial.load(files_every=_OFTEN) as journal:
        time.sleep(0.5)
        begun = time.monotonic()
        with trial.stage.servers.broken("s3", kind, **how):
            says = trial.says("storage", since=begun) if kind is not Fault.RESET_SENT else 0.0
            until(lambda: journal.statuses[_UPLOAD, 503] > 0, "a refused upload")
            time.sleep(trial.form.away_seconds)
        with _accepted(journal):
            recovers = trial.recovers(since=time.monotonic())
    refused = {operation for operation, status in journal.statuses if status == 503}
    assert refused == {_UPLOAD}, refused
    return {"said after": says, "ready after": recovers}


@fault("no room in the file store", short=False)
def full(trial: Trial) -> Figures:
    """507 for who brings bytes; nobody else notices, and nothing is lost."""
    filler = trial.stage.servers.objects / "filler"
    with trial.load(files_every=_OFTEN) as journal:
        time.sleep(0.5)
        try:
            _fill(filler)
            until(lambda: journal.statuses[_UPLOAD, 507] > 0, "a refused upload")
            time.sleep(trial.form.away_seconds)
        finally:
            filler.unlink()
        with _accepted(journal):
            pass
    refused = {status for _, status in journal.statuses if status >= 400}
    assert refused == {507}, journal.statuses
    return {"refused uploads": journal.statuses[_UPLOAD, 507]}


def _fill(filler: Path) -> None:
    """To the last byte."""
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * _MIB)


@contextmanager
def _accepted(journal: Journal) -> Iterator[None]:
    """Afterwards uploads are taken again."""
    before = journal.statuses[_UPLOAD, 201]
    yield
    until(lambda: journal.statuses[_UPLOAD, 201] > before, "an upload that is taken")
