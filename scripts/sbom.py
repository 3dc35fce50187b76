"""Write a bill of materials (CycloneDX) of what an installation consists of, with its hashes.

It names what backend/requirements.lock pins, which is all that the image of the product installs
beside Debian's Python and PostgreSQL's client. The same lock gives the same file.

Exit codes: 0 written; 1 it cannot be made or written; 2 wrong arguments.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

BACKEND = Path(__file__).resolve().parents[1] / "backend"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("sbom.json"), help="default: sbom.json")
    parser.add_argument("--json", action="store_true", help="report as one JSON document")
    arguments = parser.parse_args()
    done = subprocess.run(
        [
            *(sys.executable, "-W", "ignore", "-m", "cyclonedx_py", "requirements"),
            *(str(BACKEND / "requirements.lock"), "--pyproject", str(BACKEND / "pyproject.toml")),
            *("--output-reproducible", "--output-file", str(arguments.output.absolute())),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        return 1
    count = len(json.loads(arguments.output.read_text(encoding="utf-8"))["components"])
    if arguments.json:
        print(json.dumps({"file": str(arguments.output), "components": count}))
    else:
        print(f"{arguments.output}: {count} components")
    return 0


if __name__ == "__main__":
    sys.exit(main())
