"""Ask whether packages that the locks pin have known vulnerabilities.

By pip-audit, of the package index. Where that does not answer, it says so and is content: what the
network is like says nothing of the packages. --strict is not content.

Exit codes: 0 none is known, or nobody could be asked; 1 there are some; 2 wrong arguments.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

BACKEND = Path(__file__).resolve().parents[1] / "backend"
LOCKS = ("requirements.lock", "requirements-containers.lock")
_SECONDS = 180


def audit() -> list[dict[str, Any]] | None:
    """Packages with what is known of each; None where the index gave no answer."""
    found: dict[str, dict[str, Any]] = {}
    for lock in LOCKS:
        command = [
            *(sys.executable, "-m", "pip_audit", "--require-hashes", "--disable-pip"),
            *("--progress-spinner", "off", "--format", "json", "-r", str(BACKEND / lock)),
        ]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=_SECONDS
            )
            found |= {each["name"]: each for each in json.loads(done.stdout)["dependencies"]}
        except (subprocess.TimeoutExpired, ValueError):
            return None
    return list(found.values())


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--strict", action="store_true", help="fail where nobody could be asked")
    parser.add_argument("--json", action="store_true", help="report as one JSON document")
    arguments = parser.parse_args()
    packages = audit()
    faults = [each for each in packages or [] if each.get("vulns")]
    if arguments.json:
        print(json.dumps({"asked": packages is not None, "vulnerable": faults}))
    elif packages is None:
        print("The package index did not tell of vulnerabilities: not looked at.")
    else:
        for each in faults:
            for known in each["vulns"]:
                fixed = ", ".join(known["fix_versions"]) or "no version yet"
                print(f"{each['name']} {each['version']}: {known['id']}, mended in {fixed}")
        print(f"{len(packages)} packages looked at, {len(faults)} with known vulnerabilities.")
    return 1 if faults or (packages is None and arguments.strict) else 0


if __name__ == "__main__":
    sys.exit(main())
