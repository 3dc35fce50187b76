"""Try everything that works on a fleet, with the scripts that an operator uses, on servers of ours.

Two PostgreSQL servers and a Valkey are started, an installation is made, and many tenants. Then:
migrations with a tenant that fails, with a run that is killed, and with a server that is away; a
drifted table; a stolen grant; a tenant backed up, proven, restored and moved. Each step checks what
came of it, and at the end every catalog is compared with that of a fresh tenant.

Exit codes: 0 all went as it should; 1 a step did not, and says why; 2 wrong arguments, or a server
is not installed; 130 interrupted.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "backend"))

import psycopg
from psycopg import sql

from embedded.cluster import wheel_bin_dir
from embedded.environment import EnvironmentFile
from embedded.errors import EmbeddedError
from embedded.ports import free_port
from embedded.postgres import PostgresServer
from embedded.real import SERVICES
from embedded.signals import StopRequested, stop_on_signals
from embedded.valkey import ValkeyServer

_ID: Final = "fleettest"
_MIGRATION: Final = '''"""Column {column}."""

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{before}"


def upgrade() -> None:
    op.add_column("documents", sa.Column("{column}", sa.Text()))


def downgrade() -> None:
    op.drop_column("documents", "{column}")
'''


class Wrong(Exception):
    """A step did not end as it should."""


class Fleet:
    """The installation under test, by its scripts."""

    def __init__(self, folder: Path, admin_url: str, second: PostgresServer, jobs: int) -> None:
        self.release = folder / "release"
        for part in ("backend", "scripts"):
            shutil.copytree(
                ROOT / part,
                self.release / part,
                ignore=shutil.ignore_patterns("__pycache__", "tests", ".*_cache"),
            )
        self.admin_url = admin_url
        self.second = second
        self.jobs = str(jobs)
        self.environment: dict[str, str] = {}

    def command(self, script: str, *arguments: str) -> list[str]:
        return [sys.executable, str(self.release / "scripts" / script), *arguments]

    def run(self, script: str, *arguments: str, expect: int = 0, **more: str) -> Any:
        """The script's JSON document, or documents where it writes one per line."""
        done = subprocess.run(
            self.command(script, *arguments, "--json"),
            env=self.environment | more,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != expect:
            told = (done.stderr or done.stdout)[-2000:]
            raise Wrong(f"{script} ended with {done.returncode} instead of {expect}:\n{told}")
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        return lines[-1] if lines else None

    def migrate(self, *arguments: str, expect: int = 0) -> Any:
        return self.run("migrate_all_tenants.py", "--jobs", self.jobs, *arguments, expect=expect)

    def new_release(self, column: str) -> None:
        """The next version of the product: one column more."""
        versions = self.release / "backend" / "migrations" / "tenant" / "versions"
        before = max(path.name[:4] for path in versions.glob("[0-9]*.py"))
        revision = f"{int(before) + 1:04}"
        text = _MIGRATION.format(column=column, revision=revision, before=before)
        (versions / f"{revision}_{column}.py").write_text(text)

    def ask(self, statement: str, *values: Any, database: str = _ID) -> list[tuple[Any, ...]]:
        """As the superuser."""
        with psycopg.connect(self.admin_url, dbname=database, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def tenants(self, server: str = "default") -> list[tuple[str, str]]:
        """Id and database of each, oldest first."""
        rows = self.ask(
            "SELECT tenant_id::text, database FROM tenant_databases WHERE server = %s"
            " ORDER BY tenant_id",
            server,
        )
        return [(str(each), str(database)) for each, database in rows]


Step = Callable[[Fleet], str]


def require(*, holds: bool, words: str) -> None:
    if not holds:
        raise Wrong(words)


def nothing_to_do(fleet: Fleet) -> str:
    told = fleet.migrate()
    require(holds=told["run_id"] is None, words="there was something to do")
    return f"{told['at_target']} tenants at the target"


def every_catalog_is_equal(fleet: Fleet) -> str:
    told = fleet.run("detect_drift.py", "--jobs", fleet.jobs)
    return f"{told['inspected']} inspected, none differs"


def isolation_holds(fleet: Fleet) -> str:
    told = fleet.run("audit_isolation.py", "--jobs", fleet.jobs)
    require(holds=not told["breaches"], words=f"breaches: {told['breaches']}")
    return "{tenants} tenants, {attempts} attempts, no breach".format(**told["counts"])


def one_tenant_fails(fleet: Fleet) -> str:
    fleet.new_release("colour")
    tenant_id, database = fleet.tenants()[len(fleet.tenants()) // 2]
    fleet.ask("ALTER TABLE documents ADD COLUMN colour int", database=database)
    told = fleet.migrate("--wave", "canary,5%,rest", expect=1)
    require(holds=told["counts"]["failed"] == 1, words=f"not one failed: {told['counts']}")
    done = told["counts"]["succeeded"]
    [row] = fleet.ask("SELECT tenant_id::text FROM migration_results WHERE status = 'failed'")
    require(holds=row == (tenant_id,), words="another tenant failed")
    fleet.ask("ALTER TABLE documents DROP COLUMN colour", database=database)
    fleet.migrate("--resume")
    return f"1 failed and {done} did not; mended and resumed"


def a_killed_run(fleet: Fleet) -> str:
    fleet.new_release("shape")
    everybody = len(fleet.tenants())
    with subprocess.Popen(
        fleet.command("migrate_all_tenants.py", "--jobs", fleet.jobs),
        env=fleet.environment,
        stdout=subprocess.DEVNULL,
    ) as run:
        done = 0
        while done < everybody // 3:
            require(holds=run.poll() is None, words="the run ended before it was killed")
            [(done,)] = fleet.ask(
                "SELECT count(*) FROM migration_results r JOIN migration_runs m ON m.id = r.run_id"
                " WHERE r.status = 'succeeded' AND m.status = 'running'"
            )
            time.sleep(0.02)
        run.send_signal(signal.SIGKILL)
    told = fleet.migrate("--resume", "--verify")
    require(holds=not told["differing"], words=f"differing: {told['differing']}")
    return f"killed after {done} of {everybody}, resumed, every catalog read"


def a_drifted_table(fleet: Fleet) -> str:
    tenant_id, database = fleet.tenants()[3]
    fleet.ask("ALTER TABLE documents ALTER COLUMN name DROP NOT NULL", database=database)
    told = fleet.run("detect_drift.py", "--jobs", fleet.jobs, expect=1)
    [found] = told["drifted"]
    repairs = [each["repair"] for each in found["differences"]]
    fleet.ask("; ".join([f"SET ROLE {_ID}_schema_owner", *repairs]), database=database)
    fleet.run("detect_drift.py", "--tenant-id", tenant_id)
    return f"found, and mended by {'; '.join(repairs)}"


def a_stolen_grant(fleet: Fleet) -> str:
    (_, victim), (_, thief) = fleet.tenants()[4:6]
    names = {"victim": sql.Identifier(victim), "thief": sql.Identifier(thief)}
    for verb, expect in (("GRANT", 1), ("REVOKE", 0)):
        way = "TO" if verb == "GRANT" else "FROM"
        text = sql.SQL(f"{verb} CONNECT ON DATABASE {{victim}} {way} {{thief}}").format(**names)
        fleet.ask(text.as_string())
        told = fleet.run("audit_isolation.py", "--jobs", fleet.jobs, expect=expect)
        if expect:
            words = [each["words"] for each in told["breaches"]]
            named = [each for each in words if victim in each and thief in each]
            require(holds=bool(named), words=f"not found: {words}")
    return f"found: {named[0]}"


def a_restored_tenant(fleet: Fleet) -> str:
    tenant_id, database = fleet.tenants()[6]
    backup = fleet.run("backup_tenant.py", "--tenant-id", tenant_id)
    fleet.run("backup_tenant.py", "--tenant-id", tenant_id, "--prove")
    [(before,)] = fleet.ask("SELECT count(*) FROM documents", database=database)
    require(holds=before > 0, words="the tenant had nothing to lose")
    fleet.ask("TRUNCATE documents CASCADE", database=database)
    arguments = ("--tenant-id", tenant_id, "--backup", backup["backup_id"], "--swap")
    fleet.run("restore_tenant.py", *arguments)
    restored = dict(fleet.tenants())[tenant_id]
    [(after,)] = fleet.ask("SELECT count(*) FROM documents", database=restored)
    require(holds=(after, restored != database) == (before, True), words="rows are missing")
    return f"backup {backup['seconds']} s, proven, restored beside and swapped in"


def a_moved_tenant(fleet: Fleet) -> str:
    fleet.run("servers.py", "set", "default", "--capacity", "100000")
    fleet.run("servers.py", "add", "second", ADMIN_DATABASE_URL=fleet.second.admin_url)
    chosen = [tenant_id for tenant_id, _ in fleet.tenants()[7:9]]
    ids = [part for each in chosen for part in ("--tenant-id", each)]
    fleet.run("move_tenant.py", *ids, "--to", "second")
    there = [tenant_id for tenant_id, _ in fleet.tenants("second")]
    require(holds=there == chosen, words="they are not where they should be")
    fleet.run("detect_drift.py", *ids)
    return f"{len(chosen)} moved"


def a_server_that_is_away(fleet: Fleet) -> str:
    fleet.new_release("texture")
    fleet.second.stop()
    try:
        told = fleet.migrate(expect=1)
    finally:
        fleet.second.start()
    counts = told["counts"]
    wanted = (len(fleet.tenants("second")), 0)
    require(holds=(counts["unreached"], counts["failed"]) == wanted, words=f"counts: {counts}")
    fleet.migrate("--resume")
    return f"{counts['succeeded']} migrated, {counts['unreached']} left and resumed"


def steps(tenants: int) -> dict[str, Step]:
    def seed(fleet: Fleet) -> str:
        wanted = ("--tenants", str(tenants), "--documents", "1", "--jobs", fleet.jobs)
        return f"{fleet.run('seed_fleet.py', *wanted)['there']} made"

    def remove(fleet: Fleet) -> str:
        return f"{fleet.run('seed_fleet.py', '--remove', '--jobs', fleet.jobs)['removed']} removed"

    return {
        "tenants are made": seed,
        "nothing to do": nothing_to_do,
        "isolation": isolation_holds,
        "one tenant fails": one_tenant_fails,
        "a run is killed": a_killed_run,
        "a table has drifted": a_drifted_table,
        "a grant is stolen": a_stolen_grant,
        "a tenant is restored": a_restored_tenant,
        "tenants are moved": a_moved_tenant,
        "a server is away": a_server_that_is_away,
        "nothing to do again": nothing_to_do,
        "every catalog": every_catalog_is_equal,
        "tenants are removed": remove,
    }


def main() -> int:
    arguments = parse()
    real = SERVICES["postgres"].program() if arguments.server == "real" else None
    if arguments.server == "real" and real is None:
        print("There is none: scripts/services.py install postgres", file=sys.stderr)
        return 2
    told: list[dict[str, Any]] = []
    try:
        with stop_on_signals(), fleet_on(real or wheel_bin_dir(), arguments.jobs) as fleet:
            for name, step in steps(arguments.tenants).items():
                told.append(tried(name, step, fleet))
                if not arguments.json:
                    print("{step:<22} {seconds:>7.1f} s  {words}".format(**told[-1]), flush=True)
    except StopRequested:
        return 130
    except (EmbeddedError, Wrong) as error:
        print(error, file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps({"server": arguments.server, "steps": told}))
    return 0 if all(each["well"] for each in told) else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tenants", type=int, default=200, help="how many (200; 12 at least)")
    parser.add_argument("--server", choices=["embedded", "real"], default="embedded")
    parser.add_argument("--jobs", type=int, default=4, help="tenants at the same time (4)")
    parser.add_argument("--json", action="store_true", help="report as one JSON document")
    arguments = parser.parse_args()
    if arguments.tenants < 12 or arguments.jobs < 1:  # noqa: PLR2004  # the steps take one each
        parser.error("there is no such number of tenants or jobs")
    return arguments


def tried(name: str, step: Step, fleet: Fleet) -> dict[str, Any]:
    """What came of a step, and how long it took; the next ones are tried all the same."""
    start = time.monotonic()
    try:
        well, words = True, step(fleet)
    except (Wrong, psycopg.Error) as error:
        well, words = False, f"WRONG: {error}"
    seconds = round(time.monotonic() - start, 2)
    return {"step": name, "seconds": seconds, "well": well, "words": words}


@contextmanager
def fleet_on(programs: Path, jobs: int) -> Iterator[Fleet]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tenantry-fleet-")))
        folder.chmod(0o755)  # PostgreSQL, which is not started as root, looks below it
        first, second = (
            stack.enter_context(PostgresServer(folder / name, bin_dir=programs, port=free_port()))
            for name in ("first", "second")
        )
        redis = stack.enter_context(ValkeyServer(folder / "valkey"))
        fleet = Fleet(folder, first.admin_url, second, jobs)
        fleet.environment = installed(fleet, folder, redis.url, programs)
        fleet.run("init_storage.py")
        fleet.run("init_db.py", "--create-admin")
        yield fleet


def installed(fleet: Fleet, folder: Path, redis_url: str, programs: Path) -> dict[str, str]:
    """The environment of the installation's programs."""
    path = folder / "environment"
    plain = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    fleet.environment = plain
    fleet.run(
        "bootstrap_server.py", "--installation", _ID, "--env-file", str(path),
        ADMIN_DATABASE_URL=fleet.admin_url,
    )  # fmt: skip
    file = EnvironmentFile(path)
    file.generate_secrets()
    return {
        **plain,
        **file.read(),
        "ENVIRONMENT": "development",
        "REDIS_URL": redis_url,
        "STORAGE_PATH": str(folder / "files"),
        "POSTGRES_TOOLS": str(programs),
    }


if __name__ == "__main__":
    sys.exit(main())
