"""Write the pages that the code describes itself; with --check, only say whether they are right.

Exit codes: 0 written, or right; 1 --check found one that is outdated; 2 wrong arguments.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "backend"))

import app.factory  # noqa: F401  # declares every error
from app.core.reference import errors_page, settings_page

PAGES: dict[str, Callable[[], str]] = {
    "docs/errors.md": errors_page,
    "docs/settings.md": settings_page,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if outdated")
    arguments = parser.parse_args()
    outdated = []
    for name, page in PAGES.items():
        path, text = ROOT / name, page()
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
