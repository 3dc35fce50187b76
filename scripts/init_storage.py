"""Make the file store ready: the bucket, closed to strangers, or the folder and its marker.

Repeating it is harmless. Settings come from the environment. The marker tells a mounted folder
from an empty mount point, so run it with the volume mounted.

Exit codes: 0 the store is ready; 1 it cannot be used as it is, or a setting is wrong; 2 wrong
arguments.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "backend"))

from app.core.errors import AppError
from app.integrations import storage
from app.settings import load_settings


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="change nothing, only say how it is")
    parser.add_argument("--json", action="store_true", help="report as one JSON document")
    arguments = parser.parse_args()
    settings = load_settings()
    done: list[str] = []
    fault = None
    try:
        done = storage.prepare(settings, check=arguments.check)
    except AppError as error:
        fault = error.detail
    if arguments.json:
        print(json.dumps({"backend": settings.storage_backend, "done": done, "fault": fault}))
    elif fault is None:
        print("\n".join([*done, f"The file store ({settings.storage_backend}) is ready."]))
    else:
        print(fault, file=sys.stderr)
    return 0 if fault is None else 1


if __name__ == "__main__":
    sys.exit(main())
