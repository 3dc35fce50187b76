"""Running the scripts that prepare a server and its data, before the application starts."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from embedded.environment import INSTALLATION, write_private
from embedded.errors import EmbeddedError
from embedded.process import Command

_SECONDS = 300.0


class Person(TypedDict):
    """Somebody who can log in to the demonstration."""

    email: str
    password: str
    note: str


@dataclass(frozen=True)
class Preparation:
    """Where the scripts are, where they log, and the environment file that they share."""

    root: Path
    logs: Path
    environment_file: Path

    def prepare_server(
        self, admin_url: str, *, ours_alone: bool, environment: Mapping[str, str]
    ) -> None:
        """Roles, main database and rights; the script writes the roles' URLs to the file."""
        options = ["--installation", INSTALLATION]
        options += ["--env-file", str(self.environment_file)]
        options += ["--foreign-databases", "revoke"] if ours_alone else []
        # Not an argument: those are for everybody on this machine to read.
        self._run("bootstrap_server", options, {**environment, "ADMIN_DATABASE_URL": admin_url})

    def prepare_storage(self, environment: Mapping[str, str]) -> None:
        """The folder and its marker, or the bucket."""
        self._run("init_storage", [], environment)

    def prepare_data(self, environment: Mapping[str, str], *, people_file: Path) -> list[Person]:
        """Schema, template, signing key, demonstration; everybody who can log in.

        A script that ran before names only what is new, so what it said then is kept.
        """
        options = ["--create-admin", "--create-test-tenant", "--migrate-tenants", "--json"]
        answer = json.loads(self._run("init_db", options, environment))
        known = json.loads(people_file.read_text())["people"] if people_file.exists() else []
        named: list[Person] = answer["credentials"]
        by_email: dict[str, Person] = {person["email"]: person for person in [*known, *named]}
        return list(by_email.values())

    def link_directory(self, environment: Mapping[str, str], *, people_file: Path) -> str:
        """Acme signs in by the stand-in for Entra ID; the page where that can be seen."""
        options = ["--stand-in", "--people", str(people_file), "--json"]
        answer = json.loads(self._run("setup_sso_test", options, environment))
        return str(answer["page"])

    def _run(self, script: str, options: Sequence[str], environment: Mapping[str, str]) -> str:
        """Run a script to its end and return its standard output."""
        log = self.logs / f"{script}.log"
        command = Command(
            name=script,
            program=[sys.executable, str(self.root / "scripts" / f"{script}.py"), *options],
            log=log,
        )
        with log.open("wb") as errors:
            ended = subprocess.run(
                command.argv,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
                timeout=_SECONDS,
                check=False,
            )
        output = ended.stdout.decode(errors="replace")
        if ended.returncode != 0:
            words = [*output.splitlines(), *log.read_text(errors="replace").splitlines()][-15:]
            last = "\n".join(f"    {line}" for line in words)
            raise EmbeddedError(
                f"scripts/{script}.py failed (exit code {ended.returncode}).\n{last}"
            )
        return output


def write_people(path: Path, *, url: str, people: Sequence[Person]) -> None:
    """For `make tour`, and for whoever forgot a password."""
    password = people[0]["password"] if people else ""
    content = {"url": url, "password": password, "people": people}
    write_private(path, json.dumps(content, indent=2) + "\n")
