"""Bring docker-compose.yml up: secrets into .env, images, containers; then say where to log in.

It needs Python alone, and Docker with Compose. What stands in the way is said before anything is
built: no Docker, an engine that does not answer, a port that somebody else has.

Exit codes: 0 everything is up and healthy; 1 it is not, and it says why; 2 wrong arguments.
"""

import argparse
import json
import re
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_SECONDS = 60
_ALWAYS = ("HTTPS_PORT", "POSTGRES_PORT", "REDIS_PORT", "S3_PORT", "FLOWER_PORT")
_IN_FULL = ("KAFKA_PORT", "VAULT_PORT")
_OLDEST = (2, 24)


class CannotStart(Exception):
    """The message says what to do about it."""


def said(*command: str) -> tuple[int, str]:
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=_SECONDS
    )
    return done.returncode, (done.stdout + done.stderr).strip()


def check_docker() -> None:
    """Raises: CannotStart."""
    try:
        code, told = said("docker", "compose", "version", "--short")
    except FileNotFoundError:
        raise CannotStart("There is no Docker here. Without it: make run.") from None
    found = re.search(r"(\d+)\.(\d+)", told)
    if code or found is None:
        raise CannotStart("Docker has no Compose here: install its plug-in. Without it: make run.")
    if (int(found[1]), int(found[2])) < _OLDEST:
        raise CannotStart(f"Docker Compose {told} is too old: 2.24 or newer is needed.")
    code, told = said("docker", "version", "--format", "{{.Server.Version}}")
    if code:
        last = told.splitlines()[-1] if told else "it says nothing"
        raise CannotStart(
            f"Docker's engine does not answer. Is it running, may you use it?\n{last}"
        )


def settings() -> dict[str, str]:
    pairs = (line.partition("=") for line in (ROOT / ".env").read_text().splitlines())
    return {name: value for name, equals, value in pairs if equals and not name.startswith("#")}


def check_ports(told: dict[str, str]) -> None:
    """Those of a project that is there already are its own. Raises: CannotStart."""
    code, running = said("docker", "compose", "ps", "--quiet")
    if code:
        raise CannotStart(running)
    if running:
        return
    names = _ALWAYS + (_IN_FULL if told.get("COMPOSE_PROFILES") == "full" else ())
    taken = [f"{name}={told[name]}" for name in names if name in told and in_use(told[name])]
    if taken:
        also = ", PUBLIC_URL with HTTPS_PORT," if taken[0].startswith("HTTPS") else ""
        raise CannotStart(
            f"Somebody has the ports of {', '.join(taken)}: change them{also} in .env."
        )


def in_use(port: str) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", int(port))) == 0


def bring_up(profile: str | None, *, quiet: bool) -> dict[str, str]:
    check_docker()
    generate = [sys.executable, str(ROOT / "scripts" / "generate_secrets.py")]
    code, told = said(*generate, *(("--profile", profile) if profile else ()))
    if code:
        raise CannotStart(told)
    known = settings()
    check_ports(known)
    up = ["docker", "compose", "up", "--build", "--detach", "--wait"]
    done = subprocess.run(up, cwd=ROOT, check=False, capture_output=quiet)
    if done.returncode:
        raise CannotStart("Not everything came up: `docker compose ps --all`, `… logs` tell more.")
    return known


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--profile", choices=["minimal", "full"], help="default: .env's")
    parser.add_argument("--json", action="store_true", help="report as one JSON document")
    arguments = parser.parse_args()
    try:
        known = bring_up(arguments.profile or None, quiet=arguments.json)
    except (CannotStart, subprocess.TimeoutExpired) as error:
        print(error, file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps({"url": known["PUBLIC_URL"], "profile": known["COMPOSE_PROFILES"]}))
        return 0
    print(f"Tenantry answers on {known['PUBLIC_URL']}/api/docs (self-signed certificate).")
    if known.get("DEMO_TENANTS") == "true":
        people = "petra@platform.example, alice@acme.example, mallory@globex.example"
        print(f"{people}: {known['DEMO_PASSWORD']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
