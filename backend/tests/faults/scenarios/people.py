"""What comes from outside: poison, a flood, and a clock that is wrong."""

import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import requests

from tests.faults.programs import get
from tests.faults.servers import until
from tests.faults.stage import Stage
from tests.faults.trial import Figures, Trial, fault

_JSON: Final = {"Content-Type": "application/json"}
_POISON_FILES: Final = {
    "bomb.pdf": (b"%PDF-1.7\n" + b"1 0 obj <<" * 5_000, "application/pdf"),
    "broken.docx": (b"PK\x03\x04" + b"\xff" * 500, "application/vnd.ms-word"),
    "nested.json": (b"[" * 200_000, "application/json"),
    "nulls.txt": (b"\x00" * 10_000, "text/plain"),
}
_LIMIT: Final = 60
_WINDOW: Final = 10
_FLOODERS: Final = 4
_HOUR: Final = 3600
_LIBRARIES: Final = (
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
)


@fault("poison input", short=False)
def poison(trial: Trial) -> Figures:
    """Each is refused by a 4xx, or stored and looked into by a child that may die of it."""
    stage = trial.stage
    tenant = stage.tenants[0]
    bodies: list[Any] = [
        b"\x00",
        b"[" * 100_000,
        b'{"name": "\\ud800"}',
        b'{"name": NaN}',
        b"\xff\xfe",
    ]
    bodies += [b'{"name": "a", "name": "b"}', b'{"name": "\\u0000"}', b"{" + b'"a":1,' * 10_000]
    refused = 0
    with trial.load(), requests.Session() as session:
        session.trust_env = False
        session.headers.update(tenant.person.headers)
        url = stage.programs.url
        for path in ("/api/tenants", f"{tenant.house.documents}/bulk"):
            for body in bodies:
                answer = session.post(url + path, data=body, headers=_JSON, timeout=30)
                assert 400 <= answer.status_code < 500, (body[:20], answer.status_code)
                refused += 1
        made = []
        for name, (content, type_) in _POISON_FILES.items():
            file = {"file": (name, content, type_)}
            answer = session.post(url + tenant.house.documents, files=file, timeout=30)
            assert answer.status_code == 201, answer.text
            made.append(answer.json()["id"])
        until(lambda: all(_looked_into(session, stage, each) for each in made), "their processing")
    return {"refused": refused, "poison files": len(made)}


def _looked_into(session: requests.Session, stage: Stage, document: str) -> bool:
    path = f"{stage.tenants[0].house.documents}/{document}"
    told = session.get(stage.programs.url + path, timeout=30).json()
    return bool(told["processing"] != "pending")


@fault("one tenant at ten times its limit", short=False)
def flood(trial: Trial) -> Figures:
    """It is refused what exceeds the limit, exactly; its neighbour hardly notices."""
    stage = trial.stage
    noisy, neighbour = stage.tenants[0], stage.tenants[1]
    stage.programs.stop("api")
    limits = {"RATE_LIMITS": "true", "REQUESTS_PER_TENANT": str(_LIMIT)}
    stage.programs.start("api", **limits, REQUEST_WINDOW_SECONDS=str(_WINDOW))
    try:
        alone = _times(stage, neighbour.person.headers, neighbour.house.documents)
        with _flooding(stage, noisy.person.headers, noisy.house.documents) as statuses:
            time.sleep(1)
            beside = _times(stage, neighbour.person.headers, neighbour.house.documents)
    finally:
        stage.programs.stop("api")
        stage.programs.start("api")
    assert set(statuses) <= {200, 429}, set(statuses)
    assert statuses.count(429) > statuses.count(200), "that was no flood"
    return {
        "offered": len(statuses),
        "let through": statuses.count(200),
        "neighbour's p99 alone ms": 1000 * _p99(alone),
        "beside the flood ms": 1000 * _p99(beside),
    }


def _times(stage: Stage, headers: dict[str, str], path: str) -> list[float]:
    """Of somebody who stays below the limit; each request has to be answered."""
    taken = []
    for _ in range(_LIMIT - 10):
        begun = time.monotonic()
        answer = get(stage.programs.url + path, seconds=30, headers=headers)
        taken.append(time.monotonic() - begun)
        assert answer.status_code == 200, answer.status_code
        time.sleep(_WINDOW / _LIMIT)
    return taken


@contextmanager
def _flooding(stage: Stage, headers: dict[str, str], path: str) -> Iterator[list[int]]:
    """Ten times the limit in each window, evenly."""
    statuses: list[int] = []
    stopping = threading.Event()

    def send() -> None:
        while not stopping.wait(_WINDOW * _FLOODERS / (10 * _LIMIT)):
            answer = get(stage.programs.url + path, seconds=30, headers=headers)
            statuses.append(answer.status_code)

    threads = [threading.Thread(target=send) for _ in range(_FLOODERS)]
    for each in threads:
        each.start()
    try:
        yield statuses
    finally:
        stopping.set()
        for each in threads:
            each.join(60)


def _p99(taken: list[float]) -> float:
    return statistics.quantiles(taken, n=100)[98]


@fault("the API's clock an hour off", short=False)
def clock(trial: Trial) -> Figures:
    """Before and behind: requests are refused or done whole, and nothing is lost."""
    library = next((each for each in _LIBRARIES if Path(each).exists()), None)
    if library is None:
        pytest.fail("libfaketime is required: apt-get install faketime")
    told: Figures = {}
    for name, offset in (("before", _HOUR), ("behind", -_HOUR)):
        trial.stage.programs.stop("api")
        trial.stage.programs.start("api", LD_PRELOAD=library, FAKETIME=f"{offset:+d}")
        try:
            with trial.load(files_every=0.5) as journal:
                time.sleep(trial.form.away_seconds / 2)
        finally:
            trial.stage.programs.stop("api")
            trial.stage.programs.start("api")
        told[f"done an hour {name}"] = journal.of_status(200, 201, 204)
    return told
