"""Forty tenants with a person and documents each, and the servers that are asked about them."""

import json
import os
import subprocess
import sys
import time
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import Final
from uuid import UUID

import jwt
import psycopg
from psycopg import sql

import anchor
import logins
from app.core import ids
from app.core.db import main_session, sqlalchemy_url
from app.domains.identity.service import users
from app.domains.tenants.service import directory, lifecycle
from app.tenancy.locations import TenantLocation
from embedded.application import Application
from embedded.ports import LOOPBACK, free_port
from embedded.process import ChildProcess, Command
from library import fill
from stage import Stage
from traffic import Requests, get, rename

TENANTS: Final = 40
DOCUMENTS: Final = 200
_READY_SECONDS: Final = 90.0


@dataclass(frozen=True)
class House:
    """A tenant, some of its documents, and its owner, who is signed in for a day."""

    location: TenantLocation
    owner: UUID
    token: str
    documents: list[UUID]
    conninfo: str


def build(stage: Stage, count: int = TENANTS) -> list[House]:
    stage.app.config["JWT_ACCESS_TOKEN_EXPIRES"] = timedelta(days=1)
    return [_house(stage, number) for number in range(count)]


def _house(stage: Stage, number: int) -> House:
    owner = _person(stage, number)
    made = lifecycle.create_tenant(
        stage.manager, name=f"Tenant {number}", slug=f"load-{number}", owner_id=owner
    )
    location = directory.TenantRegistry().locate_tenant(made.id)
    url = stage.manager.server.owner_url(location.database)
    fill(url, first=1, last=DOCUMENTS, owner=owner)
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT id FROM documents ORDER BY id LIMIT 10").fetchall()
    some = [row[0] for row in rows]
    return House(
        location, owner, logins.token(stage, owner), some, logins.conninfo(stage, location)
    )


def _person(stage: Stage, number: int) -> UUID:
    with main_session() as session:
        person = users.create_user(
            session,
            stage.app.extensions["passwords"],
            email=f"alice{number}@acme.example",
            name="Alice",
            password=ids.new_id().hex,
            verified=True,
        )
        return person.id


# Whom they ask. Each runs in gunicorn, two processes of four threads.

# Enough for a connection of every tenant in each of the two processes.
_BUDGET: Final = {"TENANT_CONNECTION_BUDGET": "80", "PROCESS_COUNT": "2"}
_BUDGET_BEHIND: Final = {"TENANT_CONNECTION_BUDGET": "8", "PROCESS_COUNT": "5"}


@contextmanager
def product(stage: Stage, houses: Sequence[House]) -> Iterator[tuple[Requests, ChildProcess]]:
    """The API as `make run` starts it, limits on requests included."""
    port = free_port()
    command = Application(anchor.BACKEND, stage.folder, stage.environment | _BUDGET, port).api()
    with _started(command, port) as child:
        who = [f"Authorization: Bearer {house.token}" for house in houses]
        yield _requests(port, houses, "/api/tenants/{tenant}/documents", who), child


@contextmanager
def behind(stage: Stage) -> Iterator[list[ChildProcess]]:
    """Job worker, scheduler and consumer, which do what follows from the writes."""
    application = Application(anchor.BACKEND, stage.folder, stage.environment | _BUDGET_BEHIND, 0)
    with ExitStack() as stack:
        children = [
            stack.enter_context(ChildProcess(command))
            for command in application.behind(application.queues())
        ]
        for child in children:
            child.wait_until(partial(_is_ready, child), seconds=_READY_SECONDS)
        yield children


@contextmanager
def bare(stage: Stage, houses: Sequence[House]) -> Iterator[Requests]:
    with _peer(stage, "peer_bare:app", _logins(houses)) as port:
        yield _requests(port, houses, _PATH, [""] * len(houses))


@contextmanager
def engines(stage: Stage, houses: Sequence[House]) -> Iterator[Requests]:
    """With a main database of its own, and a table for entries in each tenant's."""
    main = _database(stage, "peer_main")
    with psycopg.connect(main, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE members (user_id uuid, tenant uuid, role text,"
            " PRIMARY KEY (user_id, tenant))"
        )
        for house in houses:
            connection.execute(
                "INSERT INTO members VALUES (%s, %s, 'owner')",
                (house.owner, house.location.tenant_id),
            )
    for house in houses:
        with psycopg.connect(stage.manager.server.owner_url(house.location.database)) as owner:
            owner.execute(
                "CREATE TABLE peer_log (id bigserial PRIMARY KEY, kind text, details jsonb,"
                " at timestamptz DEFAULT now())"
            )
            role = sql.Identifier(house.location.role)
            owner.execute(sql.SQL("GRANT INSERT ON peer_log TO {}").format(role))
            owner.execute(sql.SQL("GRANT USAGE ON SEQUENCE peer_log_id_seq TO {}").format(role))
    environment = _logins(houses) | {
        "PEER_MAIN": sqlalchemy_url(main),
        "PEER_SECRET": _SECRET,
    }
    with _peer(stage, "peer_engines:app", environment) as port:
        yield _requests(port, houses, _PATH, _tokens(houses))


@contextmanager
def django(stage: Stage, houses: Sequence[House]) -> Iterator[Requests]:
    """Installed into a venv of this run's own."""
    folder = stage.folder / "django"
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    wanted = [_DJANGO_TENANTS, "psycopg[binary]", "gunicorn", "pyjwt"]
    subprocess.run([python, "-m", "pip", "install", "-q", *wanted], check=True, timeout=600)
    environment = {
        "PEER_FOLDER": str(folder / "project"),
        "PEER_URL": _database(stage, "peer_django"),
        "PEER_SECRET": _SECRET,
    }
    people = {"people": [str(house.owner) for house in houses], "documents": DOCUMENTS}
    subprocess.run(
        [python, anchor.ROOT / "bench" / "peer_django_load.py"],
        input=json.dumps(people),
        env=environment,
        text=True,
        check=True,
        timeout=600,
    )
    with _peer(stage, "peer_django_load:application", environment, python=str(python)) as port:
        hosts = [f"t{number}.peer" for number in range(len(houses))]
        yield _requests(port, houses, "/documents", _tokens(houses), hosts)


_PATH: Final = "/tenants/{tenant}/documents"
_DJANGO_TENANTS: Final = "django-tenants>=4,<5"
_SECRET: Final = "for the peers of one run, and thrown away after it"


@contextmanager
def _peer(
    stage: Stage, program: str, environment: Mapping[str, str], *, python: str = sys.executable
) -> Iterator[int]:
    """Its port."""
    port = free_port()
    no_hooks = stage.folder / "peer.conf.py"  # those of the product's folder ask for its figures
    no_hooks.touch()
    options = ["--bind", f"{LOOPBACK}:{port}", "--workers", "2", "--threads", "4"]
    options += ["--config", str(no_hooks), "--no-control-socket"]
    command = Command(
        name=program,
        program=[python, "-m", "gunicorn", *options, program],
        log=stage.folder / f"{program.partition(':')[0]}.log",
        folder=anchor.ROOT / "bench",
        environment={"PATH": os.environ["PATH"], **environment},
    )
    with _started(command, port):
        yield port


def _requests(
    port: int,
    houses: Sequence[House],
    path: str,
    who: Sequence[str],
    hosts: Sequence[str] | None = None,
) -> Requests:
    """`path` is of a tenant's documents; `who` is the header that says who asks, or empty."""
    reads, writes = [], []
    for number, house in enumerate(houses):
        here = path.format(tenant=house.location.tenant_id)
        host = LOOPBACK if hosts is None else hosts[number]
        headers = [who[number]] if who[number] else []
        reads.append(get(here, *headers, host=host))
        writes += [rename(f"{here}/{each}", *headers, host=host) for each in house.documents]
    return Requests(port, reads, writes)


def _logins(houses: Sequence[House]) -> dict[str, str]:
    logins = {str(house.location.tenant_id): house.conninfo for house in houses}
    return {"PEER_LOGINS": json.dumps(logins)}


def _tokens(houses: Sequence[House]) -> list[str]:
    """As Flask-JWT-Extended makes them, signed by HS256: verifying that costs next to nothing."""
    now = int(time.time())
    claims = {"type": "access", "fresh": False, "iat": now, "nbf": now, "exp": now + 86_400}
    return [
        "Authorization: Bearer "
        + jwt.encode(claims | {"sub": str(house.owner), "jti": house.owner.hex}, _SECRET)
        for house in houses
    ]


def _database(stage: Stage, name: str) -> str:
    with psycopg.connect(stage.admin_url, autocommit=True) as superuser:
        superuser.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return stage.admin_url.replace("/postgres?", f"/{name}?")


@contextmanager
def _started(command: Command, port: int) -> Iterator[ChildProcess]:
    with ChildProcess(command) as child:
        child.wait_until(lambda: _healthy(port), seconds=_READY_SECONDS)
        yield child


def _is_ready(child: ChildProcess) -> bool:
    return "ready." in child.words()


def _healthy(port: int) -> bool:
    connection = HTTPConnection(LOOPBACK, port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
