"""Look for secrets in every file that git knows, but for those that were looked at.

.secrets.baseline has those: after looking at what is found, and only then,
`python -m detect_secrets scan --baseline .secrets.baseline` adds it. In tests, which are full of
passwords that they make up, only what providers give is looked for.

Exit codes: 0 none is new; 1 some are, and where; 2 wrong arguments.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_TESTS = "backend/tests/"
_MADE_UP = (
    "BasicAuthDetector",
    "Base64HighEntropyString",
    "HexHighEntropyString",
    "JwtTokenDetector",
    "KeywordDetector",
    "PrivateKeyDetector",
)
# Of the hook: the baseline's lines have moved.
_MOVED = 3


def look(files: list[str], *options: str) -> str:
    """What it found there; the baseline stays as it is."""
    with tempfile.TemporaryDirectory() as room:
        baseline = shutil.copy2(ROOT / ".secrets.baseline", room)
        done = subprocess.run(
            [
                *(sys.executable, "-m", "detect_secrets.pre_commit_hook"),
                *("--baseline", str(baseline), *options, *files),
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    return "" if done.returncode in {0, _MOVED} else done.stdout + done.stderr


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="report as one JSON document")
    arguments = parser.parse_args()
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    files = [name for name in listed.stdout.split("\0") if name and name != ".secrets.baseline"]
    options = [part for kind in _MADE_UP for part in ("--disable-plugin", kind)]
    found = look([name for name in files if not name.startswith(_TESTS)])
    found += look([name for name in files if name.startswith(_TESTS)], *options)
    if arguments.json:
        print(json.dumps({"files": len(files), "found": found}))
    else:
        print(found or f"{len(files)} files looked at, no new secret.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
