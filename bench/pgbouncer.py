"""PgBouncer in front of the main path and of a few tenants, against the direct way.

Each way reads in turns, on connections that are open. The main path is what a request asks first:
who is the caller, in which tenant (`resolve_access`), and a transaction with its two settings. A
tenant's is a page of rows. PgBouncer is Debian's; without it nothing is measured.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Final

import psycopg
from psycopg.conninfo import make_conninfo
from sqlalchemy import text

from app.core import ids
from app.core.db import main_session
from app.domains.identity.service import users
from app.domains.tenants.service import lifecycle
from app.domains.tenants.service.directory import TenantRegistry
from app.tenancy.locations import TenantLocation
from app.tenancy.manager import TenantDatabaseManager
from embedded.errors import EmbeddedError
from embedded.ports import LOOPBACK, free_port
from embedded.privileges import server_user
from embedded.process import ChildProcess, Command
from figures import Figure, middle, ratio
from stage import Stage

_TENANTS: Final = 5
_CONFIGURATION: Final = """
[databases]
* = host={host} port=5432
[pgbouncer]
listen_addr = {address}
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
pool_mode = {mode}
max_client_conn = 500
default_pool_size = 10
max_db_connections = 0
ignore_startup_parameters = extra_float_digits,options
server_reset_query = DISCARD ALL
logfile =
"""


@dataclass(frozen=True)
class _Way:
    """One way to the servers: ``main`` and ``tenants`` each do their work once."""

    name: str
    main: Callable[[], None]
    tenants: Callable[[], None]


def measure(stage: Stage, *, quick: bool) -> list[Figure]:
    if shutil.which("pgbouncer") is None:
        raise EmbeddedError("PgBouncer is not installed: apt-get install pgbouncer")
    locations = _tenants(stage)
    with ExitStack() as stack:
        ways = [_way(stack, stage, locations, "direct", None)]
        for mode in ("session", "transaction"):
            port = stack.enter_context(_pgbouncer(stage, mode))
            ways.append(_way(stack, stage, locations, mode, port))
        seconds = _rounds(ways, rounds=10 if quick else 40)
        opened = _opened(stage, locations)
    figures = []
    for kind in ("main", "tenants"):
        direct = seconds["direct", kind]
        figures.append(_milliseconds(f"{kind}: direct", direct))
        for way in ways[1:]:
            mine = seconds[way.name, kind]
            figures.append(_milliseconds(f"{kind}: {way.name} pooling", mine))
            ratios = [one / other for one, other in zip(mine, direct, strict=True)]
            figures.append(ratio(f"{kind}: {way.name} pooling / direct", ratios))
    return [*figures, *opened]


def _tenants(stage: Stage) -> list[TenantLocation]:
    with main_session() as session:
        owner = users.create_user(
            session,
            stage.app.extensions["passwords"],
            email="alice@acme.example",
            name="Alice",
            password=ids.new_token(),
            verified=True,
        ).id
    made = []
    for number in range(_TENANTS):
        tenant_id = lifecycle.register(
            stage.manager, name="Bench", slug=f"pooled-{number}", owner_id=owner
        )
        lifecycle.provision(stage.manager, tenant_id=tenant_id)
        made.append(TenantRegistry().locate_tenant(tenant_id))
    return made


@contextmanager
def _pgbouncer(stage: Stage, mode: str) -> Iterator[int]:
    """Its port. It knows the roles by their verifiers, which stand for no password."""
    folder = stage.folder / f"pgbouncer-{mode}"
    folder.mkdir()
    users_file, port, account = folder / "users.txt", free_port(), server_user()
    with psycopg.connect(stage.admin_url) as superuser:
        rows = superuser.execute(
            "SELECT rolname, rolpassword FROM pg_authid WHERE rolpassword IS NOT NULL"
        ).fetchall()
        [host] = superuser.execute("SHOW unix_socket_directories").fetchone() or [""]
    users_file.write_text("".join(f'"{name}" "{verifier}"\n' for name, verifier in rows))
    file = folder / "pgbouncer.ini"
    file.write_text(
        _CONFIGURATION.format(
            host=host.strip('"'), address=LOOPBACK, port=port, users=users_file, mode=mode
        )
    )
    for path in (folder, users_file, file):
        account.own(path)
    command = Command(
        name="PgBouncer",
        program=[str(shutil.which("pgbouncer")), str(file)],
        log=stage.folder / f"pgbouncer-{mode}.log",
        folder=folder,
        privileges=account.prefix,
    )
    with ChildProcess(command) as child:
        child.wait_until(lambda: _connects(port), seconds=30)
        yield port


def _connects(port: int) -> bool:
    try:
        psycopg.connect(host=LOOPBACK, port=port, user="nobody", dbname="x", connect_timeout=2)
    except psycopg.OperationalError as error:
        return "refused" not in str(error)
    return True


def _way(
    stack: ExitStack, stage: Stage, locations: list[TenantLocation], name: str, port: int | None
) -> _Way:
    """Connections stay open, as the application's pools keep them."""
    aside = {} if port is None else {"host": LOOPBACK, "port": port, "sslmode": "disable"}
    url = make_conninfo(stage.settings.database_url.get_secret_value(), **aside)
    threshold = None if name == "transaction" else 5
    connection = stack.enter_context(psycopg.connect(url, prepare_threshold=threshold))
    provisioner = make_conninfo(stage.settings.provisioner_url.get_secret_value(), **aside)
    settings = stage.settings.model_copy(
        update={
            "provisioner_url": type(stage.settings.provisioner_url)(provisioner),
            "prepared_statements": threshold is not None,
        }
    )
    manager = TenantDatabaseManager(settings, registry=TenantRegistry(), secrets=stage.secrets)
    stack.callback(manager.engine.dispose)

    def main() -> None:
        with connection.transaction():
            connection.execute(
                "SELECT set_config('app.current_user', %s, true),"
                " set_config('app.current_tenant', %s, true)",
                ("", str(locations[0].tenant_id)),
            )
            connection.execute(
                "SELECT state FROM tenants WHERE id = %s", (locations[0].tenant_id,)
            ).fetchall()

    def tenants() -> None:
        for location in locations:
            with manager.tenant_db_session(location) as session:
                session.execute(text("SELECT * FROM documents ORDER BY id LIMIT 50")).all()

    return _Way(name, main, tenants)


def _rounds(ways: list[_Way], *, rounds: int) -> dict[tuple[str, str], list[float]]:
    """Seconds of one piece of work, by way and kind; the order turns from round to round."""
    found: dict[tuple[str, str], list[float]] = {}
    for way in ways:
        for _ in range(10):
            way.main()
            way.tenants()
    for number in range(rounds):
        for way in ways[number % len(ways) :] + ways[: number % len(ways)]:
            for kind, work, times in (("main", way.main, 50), ("tenants", way.tenants, 5)):
                start = time.perf_counter()
                for _ in range(times):
                    work()
                took = (time.perf_counter() - start) / times
                found.setdefault((way.name, kind), []).append(took)
    return found


def _opened(stage: Stage, locations: list[TenantLocation]) -> list[Figure]:
    """Server connections that are kept for the tenants: one pool each, in every way."""
    names = [location.database for location in locations]
    with psycopg.connect(stage.admin_url) as superuser:
        [count] = superuser.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = ANY(%s)", (names,)
        ).fetchone() or [0]
    note = f"{len(locations)} tenants, three ways at once"
    return [Figure(name="server connections to tenants", value=count, unit="", note=note)]


def _milliseconds(name: str, seconds: list[float]) -> Figure:
    scaled = [1000 * each for each in seconds]
    return Figure(name=name, value=median(scaled), unit="ms", note=middle(scaled))
