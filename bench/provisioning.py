"""What it costs to make a tenant, against the bare CREATE DATABASE … TEMPLATE.

Every round makes one database in each way, the order turning from round to round, and drops it
outside of the timed part. A drop ends with a checkpoint, so that each way begins with the same
clean buffers.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from statistics import median
from typing import Any, Final
from uuid import UUID

import anchor
from app.core import ids
from app.core.db import main_session
from app.domains.identity.service import users
from app.domains.tenants.service import deletion, lifecycle
from app.tenancy.server import Connection, statement
from embedded.application import Application
from embedded.ports import LOOPBACK, free_port
from embedded.process import ChildProcess
from figures import Figure, at_most, middle, ratio
from stage import Stage

_GOAL: Final = at_most(1.5)
_WARM_UP_ROUNDS: Final = 3
_EMAIL: Final = "alice@acme.example"
_PASSWORD: Final = "correct horse battery staple"


@dataclass(frozen=True)
class Way:
    """One way to make a database: ``make`` is timed; ``drop`` takes what it returned."""

    name: str
    make: Callable[[], Any]
    drop: Callable[[Any], None]


def measure(stage: Stage, *, quick: bool) -> list[Figure]:
    owner = _owner(stage)
    with (
        stage.manager.server.connect_as_provisioner() as connection,
        _served(stage) as client,
    ):
        ways = [
            _bare(connection, stage.template),
            _provisioned(stage, owner),
            _over_http(stage, client),
        ]
        seconds = _rounds(ways, 10 if quick else 40)
    bare, provisioned, http = (seconds[way.name] for way in ways)
    return [
        *(
            Figure(
                name=way.name,
                value=1000 * median(seconds[way.name]),
                unit="ms",
                note=middle([1000 * each for each in seconds[way.name]]),
            )
            for way in ways
        ),
        ratio("provisioned / bare", _ratios(provisioned, bare), goal=_GOAL),
        ratio("POST / bare", _ratios(http, bare)),
    ]


def _ratios(ours: list[float], peer: list[float]) -> list[float]:
    return [one / other for one, other in zip(ours, peer, strict=True)]


def _rounds(ways: list[Way], count: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {way.name: [] for way in ways}
    for number in range(-_WARM_UP_ROUNDS, count):
        turn = number % len(ways)
        for way in ways[turn:] + ways[:turn]:
            start = time.perf_counter()
            made = way.make()
            took = time.perf_counter() - start
            way.drop(made)
            if number >= 0:
                seconds[way.name].append(took)
    return seconds


def _bare(connection: Connection, template: str) -> Way:
    """On a connection that is open already."""

    def make() -> str:
        name = f"bare_{ids.new_id().hex}"
        connection.execute(
            statement("CREATE DATABASE {name} TEMPLATE {template}", name=name, template=template)
        )
        return name

    def drop(name: str) -> None:
        connection.execute(statement("DROP DATABASE {name}", name=name))

    return Way("CREATE DATABASE … TEMPLATE", make, drop)


def _provisioned(stage: Stage, owner: UUID) -> Way:
    """The verbs behind the API: registry, role, clone, grants, registry."""

    def make() -> UUID:
        tenant_id = lifecycle.register(
            stage.manager, name="Bench", slug=f"b-{ids.new_id().hex[-12:]}", owner_id=owner
        )
        lifecycle.provision(stage.manager, tenant_id=tenant_id)
        return tenant_id

    return Way("registered and provisioned", make, _delete(stage))


def _over_http(stage: Stage, client: "Client") -> Way:
    def make() -> UUID:
        body = {"name": "Bench", "slug": f"h-{ids.new_id().hex[-12:]}"}
        return UUID(client.post("/api/tenants", body)["id"])

    return Way("POST /api/tenants", make, _delete(stage))


def _delete(stage: Stage) -> Callable[[UUID], None]:
    storage = stage.app.extensions["storage"]
    return lambda tenant_id: deletion.purge(stage.manager, storage, tenant_id=tenant_id)


def _owner(stage: Stage) -> UUID:
    with main_session() as session:
        alice = users.create_user(
            session,
            stage.app.extensions["passwords"],
            email=_EMAIL,
            name="Alice",
            password=_PASSWORD,
            verified=True,
        )
        return alice.id


class Client:
    """Alice, signed in, a TCP connection for each request."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._headers = {"Content-Type": "application/json"}

    def sign_in(self) -> None:
        tokens = self.post("/api/auth/login", {"email": _EMAIL, "password": _PASSWORD})
        self._headers["Authorization"] = f"Bearer {tokens['access_token']}"

    def answers(self) -> bool:
        with suppress(OSError):
            return "status" in self._send("GET", "/health")
        return False

    def post(self, path: str, body: dict[str, str]) -> dict[str, Any]:
        return self._send("POST", path, json.dumps(body))

    def _send(self, method: str, path: str, body: str | None = None) -> dict[str, Any]:
        return self.read_json(self._port, method, path, self._headers, body)

    @staticmethod
    def read_json(
        port: int,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: str | Iterable[bytes] | None,
    ) -> dict[str, Any]:
        connection = HTTPConnection(LOOPBACK, port, timeout=120)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        if answer.status >= 300:  # noqa: PLR2004  # RFC 9110: 2xx is success
            raise RuntimeError(f"{method} {path} answered {answer.status}: {text}")
        content: dict[str, Any] = json.loads(text)
        return content


@contextmanager
def _served(stage: Stage) -> Iterator[Client]:
    """The API as `make run` starts it: gunicorn, two processes of four threads."""
    port = free_port()
    api = Application(anchor.BACKEND, stage.folder, stage.environment, port).api()
    with ChildProcess(api) as process:
        client = Client(port)
        process.wait_until(client.answers, seconds=60)
        client.sign_in()
        yield client
