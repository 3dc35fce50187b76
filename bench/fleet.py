"""The fleet, made and migrated, against django-tenants (a schema per tenant) on the same server.

The peer gets the same three tables and is installed into a venv of this run's own. Both work on 100
tenants, in turns; each reports the time of its own work, without the start of a process.
"""

import gc
import json
import shutil
import subprocess
import time
import tracemalloc
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any, Final
from uuid import UUID

import psycopg

from app.core import ids
from app.core.db import platform_session
from app.domains.fleet.models import RunStatus
from app.domains.fleet.service import auditing, inspecting, running
from app.domains.fleet.service.planning import Order
from app.domains.identity.service import users
from app.domains.tenants.models import Tenant, TenantDatabase
from app.domains.tenants.service import lifecycle, pool
from app.domains.tenants.service.directory import TenantRegistry
from app.tenancy import templates
from app.tenancy.manager import TenantDatabaseManager
from app.tenancy.migrations import tree
from app.tenancy.migrations.tree import Tree
from effort import cpu_seconds
from figures import Figure, at_least, at_most, middle, ratio
from stage import Stage

_JOBS: Final = 4
_PEER: Final = "django-tenants>=4,<5"
_MANY: Final = 1000
_BATCH: Final = 10
_REPEATED: Final = 15
_KB: Final = 1024
_SCALE: Final = 10_000

_numbers = count(1)


def measure(stage: Stage, *, quick: bool) -> list[Figure]:
    tenants = 40 if quick else 100
    with _peer(stage) as peer:
        figures = _creating(stage, peer, tenants)
        figures += _adding_columns(stage, peer, tenants, rounds=1 if quick else 3)
        figures += _nothing_to_do(stage, peer, rounds=3)
    figures += _memory(stage, tenants)
    return figures + _looking(stage, tenants)


# The peer.


@dataclass(frozen=True)
class Peer:
    """Our end of the peer's process."""

    process: "subprocess.Popen[str]"

    def seconds(self, do: str, **more: object) -> float:
        if self.process.stdin is None or self.process.stdout is None:
            raise RuntimeError("the peer has no pipes")
        self.process.stdin.write(json.dumps({"do": do, **more}) + "\n")
        self.process.stdin.flush()
        return float(_answer(self.process)["seconds"])


def _answer(process: "subprocess.Popen[str]") -> dict[str, Any]:
    line = process.stdout.readline() if process.stdout else ""
    if not line:
        raise RuntimeError("the peer has ended; what it said stands above")
    answer: dict[str, Any] = json.loads(line)
    return answer


@contextmanager
def _peer(stage: Stage) -> Iterator[Peer]:
    folder = stage.folder / "peer"
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    subprocess.run(
        [python, "-m", "pip", "install", "-q", _PEER, "psycopg[binary]"], check=True, timeout=600
    )
    with psycopg.connect(stage.admin_url, autocommit=True) as superuser:
        superuser.execute("CREATE DATABASE peer")
    url = stage.admin_url.replace("/postgres?", "/peer?")
    program = Path(__file__).with_name("peer_django_tenants.py")
    with subprocess.Popen(
        [python, program, folder / "project", url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            _answer(process)
            yield Peer(process)
        finally:
            process.kill()


# Making tenants.


def _creating(stage: Stage, peer: Peer, tenants: int) -> list[Figure]:
    owner = _owner(stage)
    pooled = _with_pool(stage)
    seconds: dict[str, list[float]] = {"theirs": [], "made": [], "claimed": []}
    for first in range(0, tenants // 2, _BATCH):
        theirs = peer.seconds("create", first=first, count=_BATCH) / _BATCH
        seconds["theirs"].append(theirs)
        seconds["made"].append(_timed(lambda: _create(stage.manager, owner)) / _BATCH)
        pool.refill(pooled, size=_BATCH)
        _checkpoint(stage)  # what the clones wrote is nobody's creation
        seconds["claimed"].append(_timed(lambda: _create(pooled, owner)) / _BATCH)
        if pool.refill(pooled, size=0) != pool.Refilled(0, 0):
            raise RuntimeError("a tenant was not given a database out of the pool")
    peer.seconds("create", first=tenants // 2, count=tenants - tenants // 2)
    against = {
        way: [one / other for one, other in zip(seconds["theirs"], seconds[way], strict=True)]
        for way in ("made", "claimed")
    }
    return [
        ratio(
            "create a tenant out of the pool: django-tenants / product",
            against["claimed"],
            goal=at_least(2),
        ),
        ratio("the same without a pool", against["made"]),
        _milliseconds("create a tenant out of the pool, product", seconds["claimed"]),
        _milliseconds("the same without a pool", seconds["made"]),
        _milliseconds("create a tenant, django-tenants", seconds["theirs"]),
    ]


def _with_pool(stage: Stage) -> TenantDatabaseManager:
    settings = stage.settings.model_copy(update={"tenant_pool_size": _BATCH})
    return TenantDatabaseManager(settings, registry=TenantRegistry(), secrets=stage.secrets)


def _checkpoint(stage: Stage) -> None:
    with psycopg.connect(stage.admin_url, autocommit=True) as superuser:
        superuser.execute("CHECKPOINT")


def _owner(stage: Stage) -> UUID:
    with platform_session() as session:
        return users.create_user(
            session,
            stage.app.extensions["passwords"],
            email="alice@acme.example",
            name="Alice",
            password=ids.new_token(),
            verified=True,
        ).id


def _create(manager: TenantDatabaseManager, owner: UUID) -> None:
    for _ in range(_BATCH):
        tenant_id = lifecycle.register(
            manager, name="Bench", slug=f"b-{ids.new_id().hex[-12:]}", owner_id=owner
        )
        lifecycle.provision(manager, tenant_id=tenant_id)


# Migrating them.


def _adding_columns(stage: Stage, peer: Peer, tenants: int, *, rounds: int) -> list[Figure]:
    ours: list[float] = []
    templates_: list[float] = []
    ratios: dict[str, list[float]] = {"standard": [], "multiprocessing": []}
    whole: list[float] = []
    seconds: dict[str, list[float]] = {"standard": [], "multiprocessing": []}
    for _ in range(rounds):
        for executor, against in ratios.items():
            name = f"column_{next(_numbers)}"
            _release(stage, name)
            templates_.append(_timed(lambda: templates.ensure(stage.manager.server)))
            ours.append(_timed(lambda: _run(stage)) / tenants)
            peer.seconds("release", name=name)
            theirs = peer.seconds("migrate", executor=executor) / tenants
            seconds[executor].append(theirs)
            against.append(theirs / ours[-1])
            if executor == "standard":
                whole.append(theirs / (ours[-1] + templates_[-1] / tenants))
    return [
        ratio("add a column: django-tenants / product", ratios["standard"], goal=at_least(5)),
        ratio("the same, with the building of our template", whole),
        ratio("the same, against multiprocessing", ratios["multiprocessing"]),
        _milliseconds("add a column, per tenant, product", ours),
        _milliseconds("build the template, once for all", templates_),
        _milliseconds("add a column, per tenant, django-tenants", seconds["standard"]),
        _milliseconds("the same, multiprocessing", seconds["multiprocessing"]),
    ]


def _release(stage: Stage, name: str) -> None:
    before = tree.TENANT
    folder = stage.folder / f"tree-{next(_numbers)}"
    shutil.copytree(before.folder, folder)
    revision = f"{int(before.head) + 1:04}"
    (folder / "versions" / f"{revision}_{name}.py").write_text(
        f'"""{name}."""\n\nimport sqlalchemy as sa\nfrom alembic import op\n\n'
        f'revision = "{revision}"\ndown_revision = "{before.head}"\n\n\n'
        f'def upgrade():\n    op.add_column("documents", sa.Column("{name}", sa.Text()))\n\n\n'
        f'def downgrade():\n    op.drop_column("documents", "{name}")\n'
    )
    tree.TENANT = Tree(folder)


def _run(stage: Stage, tell: running.Tell = lambda _: None) -> None:
    ended = running.start(stage.manager, Order(jobs=_JOBS), tell=tell)
    if ended.status is not RunStatus.SUCCEEDED:
        raise RuntimeError(f"the run has {ended.status}: {ended.counts}")


# Finding that there is nothing to do.


def _nothing_to_do(stage: Stage, peer: Peer, *, rounds: int) -> list[Figure]:
    """Each round many runs with few rows and with many, so that a moment's noise is nobody's."""
    against, wall, effort, ours = [], [], [], []
    for _ in range(rounds):
        few = [_nothing(stage) for _ in range(_REPEATED)]
        theirs = peer.seconds("migrate", executor="standard")
        with _further_rows(stage):
            many = [_nothing(stage) for _ in range(_REPEATED)]
        few += [_nothing(stage) for _ in range(_REPEATED)]
        ours += [each[0] for each in few]
        against.append(theirs / median(each[0] for each in few))
        wall.append(_middle_ratio(many, few, 0))
        effort.append(_middle_ratio(many, few, 1))
    return [
        ratio("nothing to do: django-tenants / product", against, goal=at_least(10)),
        ratio(
            f"nothing to do: {_MANY} tenants more / as many as above: processor time",
            effort,
            goal=at_most(1.3),
        ),
        ratio("the same: time", wall, goal=at_most(1.3)),
        _milliseconds("nothing to do, product", ours),
    ]


def _nothing(stage: Stage) -> tuple[float, float]:
    """Seconds of the clock, and of the processors: ours and the server's."""
    before = cpu_seconds(stage.server_pid)
    seconds = _timed(lambda: _run(stage))
    return seconds, cpu_seconds(stage.server_pid) - before


def _middle_ratio(
    many: list[tuple[float, float]], few: list[tuple[float, float]], which: int
) -> float:
    return median(each[which] for each in many) / median(each[which] for each in few)


@contextmanager
def _further_rows(stage: Stage) -> Iterator[None]:
    """Tenants that stand in the ledger only: a run that has nothing to do asks nothing else."""
    made = [ids.new_id() for _ in range(_MANY)]
    with platform_session() as session:
        session.add_all(
            Tenant(id=each, slug=f"row-{each.hex[-12:]}", name="Row", state="active")
            for each in made
        )
        session.flush()  # the ledger refers to them
        session.add_all(
            TenantDatabase(
                tenant_id=each,
                server="default",
                database=f"tenant_{each.hex}",
                sealed_credentials="",
                schema_revision=tree.TENANT.head,
            )
            for each in made
        )
    with psycopg.connect(
        stage.admin_url, dbname=stage.settings.installation_id, autocommit=True
    ) as superuser:
        # As autovacuum would at some moment of its own.
        superuser.execute("VACUUM ANALYZE tenants, tenant_databases")
        try:
            yield
        finally:
            superuser.execute("DELETE FROM tenant_databases WHERE tenant_id = ANY(%s)", (made,))
            superuser.execute("DELETE FROM tenants WHERE id = ANY(%s)", (made,))
            superuser.execute("VACUUM ANALYZE tenants, tenant_databases")


# What it costs to migrate and to look.


def _memory(stage: Stage, tenants: int) -> list[Figure]:
    """Python's allocations of the migrator: how they grow from a fifth of the way to the end."""
    _release(stage, f"column_{next(_numbers)}")
    sizes: list[int] = []

    def note(_: running.Progress) -> None:
        gc.collect()
        sizes.append(tracemalloc.get_traced_memory()[0])

    tracemalloc.start()
    try:
        _run(stage, note)
    finally:
        tracemalloc.stop()
    early = tenants // 5
    growth = (sizes[-1] - sizes[early]) / (len(sizes) - early) / _KB
    note_ = f"from the {early}th to the {tenants}th"
    return [
        Figure(
            name="memory per further tenant, migrator",
            value=growth,
            unit="KB",
            goal=at_most(2),
            note=note_,
        )
    ]


def _looking(stage: Stage, tenants: int) -> list[Figure]:
    _checkpoint(stage)  # else the first database that is dropped pays for it
    audit = _timed(
        lambda: auditing.audit(
            stage.manager, stage.settings, jobs=_JOBS, tell=lambda _done, _of: None
        )
    )
    drift = _timed(lambda: list(inspecting.inspect(stage.manager, jobs=_JOBS)))
    each = (audit + drift) / tenants
    return [
        Figure(name="audit, per tenant", value=1000 * audit / tenants, unit="ms"),
        Figure(name="drift, per tenant", value=1000 * drift / tenants, unit="ms"),
        Figure(
            name=f"audit and drift of {_SCALE} tenants",
            value=each * _SCALE / 60,
            unit="min",
            note=f"from {tenants}, {_JOBS} at a time",
        ),
    ]


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _milliseconds(name: str, seconds: list[float]) -> Figure:
    scaled = [1000 * each for each in seconds]
    return Figure(name=name, value=median(scaled), unit="ms", note=middle(scaled))
