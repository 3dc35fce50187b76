"""A page of fifty documents: with every check against none at all, and of few against of many.

The APIs run at the same time in gunicorn, two processes of four threads each, and are asked in
turns: the product's as `make run` starts it; the same without limits on requests, so that only the
token, the session, the role and the tenant are checked; and `bare.py`.
"""

import socket
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

import psycopg

import anchor
import logins
from app.core import ids
from app.core.db import main_session
from app.domains.documents.service import listing
from app.domains.identity.service import users
from app.domains.tenants.service import directory, lifecycle
from app.tenancy.locations import TenantLocation
from effort import family_seconds
from embedded.application import Application
from embedded.ports import LOOPBACK, free_port
from embedded.process import ChildProcess
from figures import Figure, Goal, at_least, at_most, middle, ratio
from library import fill
from stage import Stage

_ALL: Final = "all checks and limits"
_CHECKS: Final = "checks alone"
_BARE: Final = "bare"
_TURN_SECONDS: Final = 1.5
_CLIENTS: Final = 4
_FEW: Final = 1_000
_MANY: Final = 1_000_000
_MANY_IF_QUICK: Final = 100_000
_EMAIL: Final = "alice@acme.example"
_PASSWORD: Final = "correct horse battery staple"


def measure(stage: Stage, *, quick: bool) -> list[Figure]:
    many = _MANY_IF_QUICK if quick else _MANY
    owner = _owner(stage)
    small, large = (_house(stage, owner, count) for count in (_FEW, many))
    with _served(stage, small, owner) as apis:
        turns = _in_rounds(stage, apis, rounds=5 if quick else 15)
    return [
        *_compared(turns),
        *_growth(stage, small, large, many=many, calls=40 if quick else 120),
    ]


# With every check against none.


@dataclass(frozen=True)
class Api:
    """Where a page of fifty documents is asked for, and the request for it."""

    name: str
    port: int
    request: bytes

    def ask(self, connection: socket.socket) -> None:
        connection.sendall(self.request)
        answer = connection.recv(65_536)
        head, _, body = answer.partition(b"\r\n\r\n")
        status, _, headers = head.decode().partition("\r\n")
        if " 200 " not in status:
            raise RuntimeError(answer.decode())
        length = int(headers.lower().partition("content-length: ")[2].partition("\r\n")[0])
        left = length - len(body)
        while left:
            left -= len(connection.recv(left))

    def pages(self, seconds: float) -> int:
        """The pages that all clients get together, each on a connection of its own."""
        end = time.perf_counter() + seconds

        def work(_: int) -> int:
            asked = 0
            with socket.create_connection((LOOPBACK, self.port), timeout=30) as connection:
                while time.perf_counter() < end:
                    self.ask(connection)
                    asked += 1
            return asked

        with ThreadPoolExecutor(_CLIENTS) as pool:
            return sum(pool.map(work, range(_CLIENTS)))

    def answers(self) -> bool:
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=5) as connection:
                self.ask(connection)
        except OSError:
            return False
        return True


@dataclass(frozen=True)
class Turn:
    """What one API did in one round: pages a second, and the processor time of each.

    ``own`` is that of gunicorn and its workers, ``in_all`` also that of PostgreSQL and Redis.
    """

    rate: float
    own: float
    in_all: float


@contextmanager
def _served(stage: Stage, house: TenantLocation, owner: UUID) -> Iterator[dict[Api, int]]:
    """The three APIs, and the main process of each."""
    path = f"/api/tenants/{house.tenant_id}/documents"
    asked = _request(path, f"Authorization: Bearer {logins.token(stage, owner)}\r\n")
    environment = stage.environment | {
        "BARE_CONNINFO": logins.conninfo(stage, house),
        "PYTHONPATH": str(anchor.ROOT / "bench"),
    }
    product, unlimited, bare = (
        Api(name, free_port(), request)
        for name, request in ((_ALL, asked), (_CHECKS, asked), (_BARE, _request("/documents")))
    )
    commands = {
        api: Application(anchor.BACKEND, stage.folder, environment | more, api.port).api()
        for api, more in (
            (product, {}),
            (unlimited, {"RATE_LIMITS": "false"}),
            (bare, {}),
        )
    }
    no_hooks = stage.folder / "bare.conf.py"  # those of the product's folder ask for its figures
    no_hooks.touch()
    program = [part.replace("wsgi:app", "bare:app") for part in commands[bare].program]
    commands[bare] = replace(
        commands[bare],
        program=[*program, "--config", str(no_hooks)],
        log=stage.folder / "bare.log",
    )
    with ExitStack() as stack:
        children = {api: stack.enter_context(ChildProcess(each)) for api, each in commands.items()}
        for api, child in children.items():
            child.wait_until(api.answers, seconds=180)
        yield {api: child.pid for api, child in children.items()}


def _request(path: str, headers: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\n{headers}\r\n".encode()


def _in_rounds(stage: Stage, apis: Mapping[Api, int], *, rounds: int) -> dict[str, list[Turn]]:
    turns: dict[str, list[Turn]] = {api.name: [] for api in apis}
    for number in range(-1, rounds):
        for api in list(apis)[:: 1 if number % 2 else -1]:
            turn = _turn(stage, api, apis[api])
            if number >= 0:  # the first round only warms up
                turns[api.name].append(turn)
    return turns


def _turn(stage: Stage, api: Api, main: int) -> Turn:
    servers = (main, stage.server_pid, stage.redis_pid)
    before = [family_seconds(pid) for pid in servers]
    pages = api.pages(_TURN_SECONDS)
    used = [family_seconds(pid) - then for pid, then in zip(servers, before, strict=True)]
    return Turn(pages / _TURN_SECONDS, used[0] / pages, sum(used) / pages)


def _compared(turns: Mapping[str, Sequence[Turn]]) -> list[Figure]:
    """Processor time tells the price of a page whatever else the machine is doing."""
    figures = []
    for name, each in turns.items():
        rates, times = [turn.rate for turn in each], [1e6 * turn.own for turn in each]
        rest = statistics.median(1e6 * (turn.in_all - turn.own) for turn in each)
        note = f"{middle(times)}; PostgreSQL and Redis {rest:.0f} us more"
        figures += [
            Figure(name=name, value=statistics.median(rates), unit="/s", note=middle(rates)),
            Figure(name=f"{name}: time", value=statistics.median(times), unit="us", note=note),
        ]
    for name in (_ALL, _CHECKS):
        pairs = list(zip(turns[name], turns[_BARE], strict=True))
        goal = at_least(0.6)
        figures += [
            ratio(f"{name} / bare", [ours.rate / bare.rate for ours, bare in pairs], goal=goal),
            *(
                ratio(f"{name} / bare, by {what}", values, goal=goal if "API" in what else None)
                for what, values in (
                    ("the API's processor time", [bare.own / ours.own for ours, bare in pairs]),
                    ("all servers'", [bare.in_all / ours.in_all for ours, bare in pairs]),
                )
            ),
        ]
    return figures


# Of few against of many.


def _growth(
    stage: Stage, small: TenantLocation, large: TenantLocation, *, many: int, calls: int
) -> list[Figure]:
    goal: Goal = at_most(1.5)
    figures = []
    for name, query in {
        "newest first": {},
        "from the middle on": {"middle": True},
        "by name": {"sort": "name"},
        "by size": {"sort": "size"},
        "the one with a piece of a name": {"name": "PPELIN 500."},
        "with a tag that all have": {"tags": ["plan"]},
        "with two tags, one of them rare": {"tags": ["plan", "secret"]},
        "images": {"content_type": "image/*"},
    }.items():
        ways = [_asking(stage, house, dict(query)) for house in (small, large)]
        seconds = _in_turns(ways, calls)
        growth = statistics.median(seconds[1]) / statistics.median(seconds[0])
        figures.append(
            Figure(
                name=f"{name}: {many:,} / {_FEW:,}",
                value=growth,
                unit="x",
                goal=None if "rare" in name or name == "images" else goal,
                note=f"{1000 * statistics.median(seconds[1]):.2f} ms of the {many:,}",
            )
        )
    return figures


def _asking(stage: Stage, house: TenantLocation, query: dict[str, Any]) -> Callable[[], object]:
    cursors = stage.app.extensions["cursors"]
    given = {"sort": "created", "order": None, "limit": 50, "cursor": None} | query
    if given.pop("middle", False):
        given["cursor"] = _cursor_in_the_middle(stage, house, given)

    def ask() -> object:
        return listing.list_documents(stage.manager.tenant_rows(house), cursors=cursors, **given)

    return ask


def _cursor_in_the_middle(stage: Stage, house: TenantLocation, given: dict[str, Any]) -> str:
    cursors = stage.app.extensions["cursors"]
    with psycopg.connect(stage.manager.server.owner_url(house.database)) as connection:
        row = connection.execute(
            "SELECT created_at, id FROM documents ORDER BY created_at, id"
            " OFFSET (SELECT count(*) / 2 FROM documents) LIMIT 1"
        ).fetchone()
    if row is None:
        raise LookupError("there are no documents")
    created_at, document_id = row
    query = ["documents", house.tenant_id, given["sort"], True, {"tags": [], "q": None}]
    cursor: str = cursors.dump_position([created_at.isoformat(), document_id.hex], query=query)
    return cursor


def _in_turns(ways: Sequence[Callable[[], object]], calls: int) -> list[list[float]]:
    seconds: list[list[float]] = [[] for _ in ways]
    for number in range(-10, calls):
        for each, way in zip(seconds, ways, strict=True):
            start = time.perf_counter()
            way()
            if number >= 0:
                each.append(time.perf_counter() - start)
    return seconds


# The scene.


def _owner(stage: Stage) -> UUID:
    with main_session() as session:
        passwords = stage.app.extensions["passwords"]
        alice = users.create_user(
            session, passwords, email=_EMAIL, name="Alice", password=_PASSWORD, verified=True
        )
        return alice.id


def _house(stage: Stage, owner: UUID, count: int) -> TenantLocation:
    slug = f"lists-{count}-{ids.new_id().hex[-6:]}"
    made = lifecycle.create_tenant(stage.manager, name="Lists", slug=slug, owner_id=owner)
    location = directory.TenantRegistry().locate_tenant(made.id)
    fill(stage.manager.server.owner_url(location.database), first=1, last=count, owner=owner)
    return location
