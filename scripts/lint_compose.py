"""Have Docker Compose itself read docker-compose.yml, as each profile and in development.

It starts nothing. Where there is no `docker compose`, it says so and is content: the tests hold the
file to our own rules in any case.

Exit codes: 0 it reads, or there is no Compose; 1 it does not, and it says why; 2 wrong arguments.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BASE, DEVELOPMENT = "docker-compose.yml", "docker-compose.dev.yml"
_SECONDS = 60


def has_compose() -> bool:
    try:
        command = ["docker", "compose", "version"]
        done = subprocess.run(command, capture_output=True, check=False, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def faults() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="compose-") as room:
        for profile in ("minimal", "full"):
            environment = Path(room, profile)
            subprocess.run(
                [
                    *(sys.executable, str(ROOT / "scripts" / "generate_secrets.py")),
                    *("--profile", profile, "--env-file", str(environment)),
                ],
                check=True,
                capture_output=True,
            )
            for files in ((BASE,), (BASE, DEVELOPMENT)):
                done = subprocess.run(
                    [
                        *("docker", "compose", "--env-file", str(environment)),
                        *(part for file in files for part in ("-f", str(ROOT / file))),
                        *("config", "--quiet"),
                    ],
                    capture_output=True,
                    text=True,
                    check=False,
                    timeout=_SECONDS,
                )
                if done.returncode or done.stderr:
                    yield f"{profile}, {' and '.join(files)}: {done.stderr.strip()}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="report as one JSON document")
    arguments = parser.parse_args()
    there = has_compose()
    found = list(faults()) if there else []
    if arguments.json:
        print(json.dumps({"compose": there, "faults": found}))
    elif not there:
        print("There is no docker compose here: not looked at.")
    else:
        print("\n".join(found) or "docker compose reads both profiles, and their override.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
