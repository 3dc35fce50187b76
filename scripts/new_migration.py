"""Write the next migration of a tree; with --check, refuse unsafe steps in the tenants'.

Exit codes: 0 done, or nothing unsafe; 1 an unsafe step; 2 the tree or the message is not usable.
"""

import argparse
import json
import re
import sys
from contextlib import redirect_stdout
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "backend"))

from alembic.script import ScriptDirectory

from app.core.db import MIGRATIONS
from app.tenancy.migrations import tree
from app.tenancy.migrations.linting import find_faults

LONGEST_SLUG = 40


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tree", nargs="?", choices=["main", "tenant"])
    parser.add_argument("message", nargs="?", help="a sentence without its full stop")
    parser.add_argument("--check", action="store_true", help="write nothing; lint the tenants'")
    parser.add_argument("--json", action="store_true", help="report as one JSON document")
    arguments = parser.parse_args()
    if arguments.check:
        sys.exit(check(as_json=arguments.json))
    if not arguments.tree or not (arguments.message or "").strip(" ."):
        parser.error("give a tree and a message, or --check")
    try:
        path = write(MIGRATIONS / arguments.tree, arguments.message.strip(" ."))
    except ValueError as error:
        parser.error(str(error))
    print(json.dumps({"path": str(path)}) if arguments.json else path.relative_to(ROOT))


def check(*, as_json: bool) -> int:
    faults = find_faults(tree.current())
    if as_json:
        told = [
            {"revision": each.revision, "statement": each.statement, "advice": each.advice}
            for each in faults
        ]
        print(json.dumps({"faults": told}))
    else:
        for each in faults:
            print(f"{each.revision}: {each.statement}\n    {each.advice}")
    return 1 if faults else 0


def write(folder: Path, message: str) -> Path:
    """The new file, numbered after the head.

    Raises:
        ValueError: the tree has two heads, or a file has the next number already.
    """
    scripts = ScriptDirectory(str(folder), file_template="%(rev)s_%(slug)s")
    heads = scripts.get_heads()
    if len(heads) != 1:
        raise ValueError(f"the tree has the heads {', '.join(heads)}; join them first")
    number = f"{int(heads[0]) + 1:04}"
    slug = re.sub(r"[^a-z0-9]+", "_", message.lower())[:LONGEST_SLUG].strip("_")
    scripts.truncate_slug_length = LONGEST_SLUG
    with redirect_stdout(sys.stderr):  # Alembic tells of it there, which is for our report
        made = scripts.generate_revision(number, message.replace('"', "'"), head=heads[0])
    if made is None:
        raise ValueError("Alembic wrote no file")
    return Path(made.path).rename(folder / "versions" / f"{number}_{slug}.py")


if __name__ == "__main__":
    main()
