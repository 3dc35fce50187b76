"""Write the pages that the code describes itself; with --check, only say whether they are right.

The schema of an event's version only grows: what would shrink one is refused, and nothing written.

Exit codes: 0 written, or right; 1 one is outdated, or a schema would shrink; 2 wrong arguments.
"""

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "backend"))

import app.factory  # noqa: F401  # declares every error
from app.core.catalogue import catalogue, shrunk
from app.core.reference import compose_settings, env_template, errors_page, settings_page


def template(name: str) -> str:
    return env_template((ROOT / name).read_text(encoding="utf-8"))


PAGES: dict[str, Callable[[], str]] = {
    ".env.docker": partial(template, ".env.docker"),
    ".env.docker.minimal": partial(template, ".env.docker.minimal"),
    "docker/settings.yml": compose_settings,
    "docs/errors.md": errors_page,
    "docs/settings.md": settings_page,
}
SCHEMAS = ROOT / "docs" / "events"


def schema_pages() -> dict[str, str]:
    return {
        f"docs/events/{name}.json": json.dumps(told.schema, indent=2) + "\n"
        for name, told in catalogue().items()
    }


def shrinking() -> list[str]:
    """What readers of the written schemas would miss."""
    faults = []
    for path in sorted(SCHEMAS.glob("*.json")):
        told = catalogue().get(path.stem)
        if told is None:
            faults.append(f"{path.stem} is gone")
            continue
        faults += [
            f"{path.stem}: {fault}" for fault in shrunk(json.loads(path.read_text()), told.schema)
        ]
    return faults


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if outdated")
    arguments = parser.parse_args()
    if faults := shrinking():
        sys.exit("\n".join(["events may only say more; write a new version:", *faults]))
    SCHEMAS.mkdir(exist_ok=True)
    outdated = []
    pages = {name: page() for name, page in PAGES.items()} | schema_pages()
    for name, text in pages.items():
        path = ROOT / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        outdated.append(name)
        if not arguments.check:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {name}")
    if arguments.check and outdated:
        sys.exit(f"outdated: {', '.join(outdated)}")


if __name__ == "__main__":
    main()
