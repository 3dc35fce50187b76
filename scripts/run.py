"""Run the whole product on this machine, without containers (`make run`).

PORT is where it answers (4999). Given DATABASE_URL (of a superuser) or REDIS_URL, it uses that
server instead of one of its own.

Exit codes: 0 stopped; 1 something does not start, and it says what; 2 wrong arguments.
"""

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "backend"))

from embedded.errors import EmbeddedError
from embedded.signals import StopRequested, stop_on_signals
from embedded.supervisor import Folders, Supervisor

_HIGHEST_PORT = 65535


def main() -> int:
    """Run until stopped; the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=ROOT / ".data", help="default: .data")
    folders = Folders(ROOT, parser.parse_args().data.absolute())
    port = os.environ.get("PORT", "4999")
    if not port.isdecimal() or not 0 < int(port) <= _HIGHEST_PORT:
        return _fail(f"PORT is {port!r}; it has to be a number from 1 to {_HIGHEST_PORT}.")
    try:
        with stop_on_signals():
            Supervisor(folders, port=int(port), outer=os.environ).run()
    except StopRequested:
        print("Stopped.", flush=True)
    except EmbeddedError as error:
        return _fail(str(error))
    return 0


def _fail(message: str) -> int:
    print(f"\n{message}", file=sys.stderr, flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
