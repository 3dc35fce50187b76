"""Dumps of one database by PostgreSQL's own programs, streamed in both directions.

pg_restore refuses what a newer pg_dump wrote, and a newer pg_dump writes what an older server does
not understand: so both are of the server's own major version.
"""

import re
import subprocess
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from typing import IO, Final

from psycopg.conninfo import conninfo_to_dict

from app.core.errors import Conflict
from app.tenancy.server import Connection, Server

_CHUNK: Final = 1024**2
_LONGEST_COMPLAINT: Final = 2000
_DEBIAN: Final = "/usr/lib/postgresql/{major}/bin"
# libpq's variables: a password among the arguments would show to all who list processes.
_VARIABLES: Final = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "dbname": "PGDATABASE",
    "options": "PGOPTIONS",
    "application_name": "PGAPPNAME",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "channel_binding": "PGCHANNELBINDING",
    "gssencmode": "PGGSSENCMODE",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslcrl": "PGSSLCRL",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
}


class ToolsMissing(Conflict):
    """This machine has no pg_dump and pg_restore of the server's major version.

    Install them (Debian: postgresql-client-{version}) or name their folder in POSTGRES_TOOLS.
    """

    code = "postgres_tools_missing"


class DumpFailed(RuntimeError):
    """One of the programs gave up; the message is its own."""


def major_version(connection: Connection) -> int:
    return connection.info.server_version // 10_000


def find_tool(name: str, major: int, folder: Path | None) -> Path:
    """The program of that major version.

    Raises:
        ToolsMissing: there is none.
    """
    places = [folder] if folder is not None else [Path(_DEBIAN.format(major=major))]
    candidates = [place / name for place in places]
    if folder is None and (on_path := which(name)) is not None:
        candidates.append(Path(on_path))
    for candidate in candidates:
        if candidate.is_file() and _major_of(candidate) == major:
            return candidate
    looked = ", ".join(map(str, candidates))
    raise ToolsMissing(f"{name} of PostgreSQL {major} is needed, and is not at: {looked}.")


def dump(server: Server, database: str, *, snapshot: str, tool: Path) -> Iterator[bytes]:
    """The database in pg_dump's custom format, as of the snapshot, whose transaction stays open.

    The version row is left out: whoever restores makes the schema, and says which it is.

    Raises:
        DumpFailed: it was not dumped to the end.
    """
    arguments = [
        "--format=custom",
        f"--snapshot={snapshot}",
        "--exclude-table-data=public.alembic_version",
        "--no-password",
    ]
    command = [str(tool), *arguments]
    with _running(command, server, database, stdout=subprocess.PIPE) as process:
        if process.stdout is None:
            raise DumpFailed("there is no pipe")
        while chunk := process.stdout.read(_CHUNK):
            yield chunk


def load(server: Server, database: str, chunks: Iterable[bytes], *, tool: Path) -> None:
    """Loads the rows of a dump into a database that has its tables, in one transaction.

    Raises:
        DumpFailed: nothing was loaded.
    """
    arguments = ["--data-only", "--single-transaction", "--exit-on-error", "--no-password"]
    # Empty: the database is named by PGDATABASE.
    command = [str(tool), *arguments, "--dbname="]
    with _running(command, server, database, stdin=subprocess.PIPE) as process:
        if process.stdin is None:
            raise DumpFailed("there is no pipe")
        try:
            for chunk in chunks:
                process.stdin.write(chunk)
            process.stdin.close()
        except BrokenPipeError:
            return  # the program has given up, and its exit code says why


@contextmanager
def _running(
    command: list[str],
    server: Server,
    database: str,
    *,
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.DEVNULL,
) -> Iterator[subprocess.Popen[bytes]]:
    """The program, which is ended where the block fails; its complaints become our error."""
    process = subprocess.Popen(  # noqa: S603  # a program of PostgreSQL's, found by us
        command,
        env=_environment(server.owner_url(database)),
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.PIPE,
    )
    complaints: list[bytes] = []
    reader = threading.Thread(target=_collect, args=(process.stderr, complaints), daemon=True)
    reader.start()
    try:
        yield process
    except BaseException:
        process.kill()
        raise
    finally:
        for pipe in (process.stdin, process.stdout):
            if pipe is not None and not pipe.closed:
                pipe.close()
        code = process.wait()
        reader.join()
        if process.stderr is not None:
            process.stderr.close()
    if code != 0:
        words = b"".join(complaints).decode(errors="replace").strip()
        raise DumpFailed(f"{Path(command[0]).name} failed: {words[-_LONGEST_COMPLAINT:]}")


def _collect(pipe: IO[bytes] | None, complaints: list[bytes]) -> None:
    """Reads to the end, so that the program never waits for us; keeps the end alone."""
    while pipe is not None and (line := pipe.readline()):
        complaints.append(line[:_LONGEST_COMPLAINT])
        del complaints[:-20]


def _environment(conninfo: str) -> Mapping[str, str]:
    """Nothing of ours: other PG… variables would give the program other orders."""
    given = conninfo_to_dict(conninfo)
    if unknown := given.keys() - _VARIABLES.keys():
        raise DumpFailed(f"PROVISIONER_URL has what cannot be handed on: {', '.join(unknown)}")
    return {_VARIABLES[key]: str(value) for key, value in given.items()} | {"LC_ALL": "C"}


def _major_of(program: Path) -> int | None:
    answer = subprocess.run(  # noqa: S603  # as above
        [program, "--version"], capture_output=True, text=True, timeout=30, check=False
    )
    found = re.search(r"\) (\d+)", answer.stdout)
    return int(found[1]) if found else None
