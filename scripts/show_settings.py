"""Tell what a process would be told: each setting, its value, and where that comes from.

Secrets are masked.

Exit codes: 0 a process would start; 1 it would not, for the reasons that are named; 2 wrong
arguments.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "backend"))

from app.core.reference import effective
from app.settings import load_settings


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments = parser.parse_args()
    rows = list(effective(load_settings()))
    if arguments.json:
        print(json.dumps(rows))
        return
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        print(f"{row['name']:<{width}}  {row['source']:<11}  {row['value']}")


if __name__ == "__main__":
    main()
