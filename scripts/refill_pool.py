"""Fill the pool of databases that wait for new tenants, or look at it with --status.

Makes what is missing of TENANT_POOL_SIZE, renews what an older release made, and drops what is too
much; the job tenants.refill_pool does the same.

Exit codes: 0 done, or shown; 3 another process is at it; 6 a server that is needed is away.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "backend"))

from app.core.db import platform_session
from app.core.errors import AppError
from app.domains.fleet.cli import draw_bar
from app.domains.tenants.service import pool
from app.factory import create_app
from app.settings import load_settings
from app.tenancy.manager import current_manager


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--status", action="store_true", help="only show how the pool stands")
    parser.add_argument("--json", action="store_true", help="report as one JSON document")
    arguments = parser.parse_args()
    settings = load_settings()
    try:
        with create_app(settings).app_context():
            done = None
            if not arguments.status:
                done = pool.refill(current_manager(), size=settings.tenant_pool_size, tell=tell)
            with platform_session() as session:
                state = pool.state(session)
    except AppError as error:
        print(error.detail, file=sys.stderr)
        sys.exit(6)
    report = {"size": settings.tenant_pool_size, **asdict(state)}
    if done is not None:
        report |= asdict(done)
    if arguments.json:
        print(json.dumps(report))
    else:
        print(", ".join(f"{name} {count}" for name, count in report.items()))
    sys.exit(3 if done is None and not arguments.status else 0)


def tell(done: int, of: int) -> None:
    if sys.stderr.isatty():
        draw_bar(done, of, "databases")


if __name__ == "__main__":
    main()
