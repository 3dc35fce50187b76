"""Tell what a process would be told: each setting, its value, and where that comes from.

Secrets are masked. Exits 1 where a process would not start, and says why.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "backend"))

from app.core.reference import effective
from app.settings import load_settings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
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
