"""Write .env for docker-compose.yml: the template of a profile, with secrets where it is empty.

Repeating it is harmless: what .env says stays as it is, and gets the lines that a newer template
has and it has not. --force makes new secrets in place of those there: servers that run on the old
ones, and data that are sealed with them, are lost to it. It needs Python alone.

Exit codes: 0 written, or nothing to do; 1 the template or .env cannot be used; 2 wrong arguments.
"""

import argparse
import base64
import json
import os
import re
import secrets
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TEMPLATES = {"minimal": ".env.docker.minimal", "full": ".env.docker"}
_ASSIGNMENT = re.compile(r"([A-Z][A-Z0-9_]*)=(.*)")


def token() -> str:
    """Of letters, digits, - and _: it stands in URLs and in YAML as it is."""
    return secrets.token_urlsafe(32)


def key() -> str:
    """32 bytes, as Fernet and AES-256 want them."""
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


# Each once per installation; the order is the template's.
SECRETS: dict[str, Callable[[], str]] = {
    "POSTGRES_PASSWORD": token,
    "APP_PASSWORD": token,
    "OWNER_PASSWORD": token,
    "PLATFORM_PASSWORD": token,
    "PROVISIONER_PASSWORD": token,
    "REDIS_PASSWORD": token,
    "SECRET_KEY": token,
    "SECRETS_KEYS": key,
    "BACKUP_KEYS": key,
    "S3_ACCESS_KEY_ID": lambda: secrets.token_hex(10).upper(),
    "S3_SECRET_ACCESS_KEY": token,
    "METRICS_TOKEN": token,
    "FLOWER_PASSWORD": token,
    "DEMO_PASSWORD": lambda: secrets.token_urlsafe(15),
    "KAFKA_CLUSTER_ID": lambda: base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("="),
}


def assignments(text: str) -> dict[str, str]:
    found = map(_ASSIGNMENT.fullmatch, text.splitlines())
    return {match[1]: match[2].strip() for match in found if match}


def filled(text: str, *, force: bool) -> tuple[str, list[str]]:
    """The text with its empty secrets made, or with all of them made anew; and their names."""
    made = []
    lines = []
    for line in text.splitlines():
        match = _ASSIGNMENT.fullmatch(line)
        if match and match[1] in SECRETS and (force or not match[2].strip()):
            made.append(match[1])
            lines.append(f"{match[1]}={SECRETS[match[1]]()}")
        else:
            lines.append(line)
    return "\n".join(lines) + "\n", made


def missing_lines(template: str, known: dict[str, str]) -> list[str]:
    """What a template assigns and .env does not, each with the comment above it."""
    lines: list[str] = []
    comment: list[str] = []
    for line in template.splitlines():
        match = _ASSIGNMENT.fullmatch(line)
        if match and match[1] not in known:
            lines += [*comment, line]
        comment = [*comment, line] if line.startswith("# ") and "──" not in line else []
    return lines


def write_private(path: Path, text: str) -> None:
    """Whole or not at all, and readable by its owner alone."""
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)


def run(path: Path, template: str, *, force: bool) -> dict[str, object]:
    """What was made and what was kept: names, never values."""
    before = path.read_text() if path.exists() else ""
    text = before or template
    if before and (lines := missing_lines(template, assignments(before))):
        text = before.rstrip("\n") + "\n" + "\n".join(lines) + "\n"
    text, made = filled(text, force=force)
    if text != before:
        write_private(path, text)
    kept = [name for name in SECRETS if name in assignments(text) and name not in made]
    return {"file": str(path), "written": text != before, "made": made, "kept": kept}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--profile", choices=list(TEMPLATES), help="default: .env's, else minimal")
    parser.add_argument("--env-file", type=Path, default=ROOT / ".env", help="default: .env")
    parser.add_argument("--force", action="store_true", help="make every secret anew")
    parser.add_argument("--json", action="store_true", help="report as one JSON document")
    arguments = parser.parse_args()
    try:
        known = assignments(arguments.env_file.read_text()) if arguments.env_file.exists() else {}
        profile = arguments.profile or known.get("COMPOSE_PROFILES") or "minimal"
        if profile not in TEMPLATES:
            print(f"COMPOSE_PROFILES={profile}: give --profile minimal or full.", file=sys.stderr)
            return 1
        report = run(
            arguments.env_file, (ROOT / TEMPLATES[profile]).read_text(), force=arguments.force
        )
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(report))
    elif not report["written"]:
        print(f"{report['file']} is complete; nothing was changed.")
    else:
        print(f"{report['file']}: made {', '.join(report['made']) or 'no secret'}.")  # type: ignore[arg-type]
    return 0


if __name__ == "__main__":
    sys.exit(main())
