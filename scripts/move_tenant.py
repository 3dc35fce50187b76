"""Move tenants to another PostgreSQL server while they are served.

Each is copied as it is, follows what changed, is read-only for a moment, verified by counts and
hashes of each table, and switched. What goes wrong before that leaves it where it was. Killed,
it is repeated: a move that broke off is finished or taken back first.

Exit codes: 0 all are where they should be; 1 some stayed where they were; 2 it cannot be done;
3 another move, or a migration, is under way; 6 a server that is needed is away.
"""

import argparse
import json
import sys
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "backend"))

from app.core.db import platform_session
from app.core.errors import AppError, Unavailable
from app.domains.fleet.cli import draw_bar
from app.domains.tenants.errors import MoveFailed
from app.domains.tenants.service import moving, servers
from app.factory import create_app
from app.settings import load_settings
from app.tenancy.manager import current_manager
from app.tenancy.server import AlreadyClaimed


def main() -> None:
    arguments = parse()
    try:
        with create_app(load_settings()).app_context():
            if arguments.history:
                show_history(as_json=arguments.json)
                return
            report = [move_one(each, arguments) for each in chosen(arguments)]
    except AlreadyClaimed as error:
        stop(arguments, error.detail, 3)
    except Unavailable as error:
        stop(arguments, error.detail, 6)
    except AppError as error:
        stop(arguments, error.detail, 2)
    failed = [each for each in report if "error" in each]
    if arguments.json:
        print(json.dumps({"moved": report}, default=str))
    else:
        print(f"{len(report) - len(failed)} moved, {len(failed)} stayed where they were")
    sys.exit(1 if failed else 0)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--tenant-id", type=UUID, action="append", help="this one; repeatable")
    which.add_argument("--from", dest="source", metavar="SERVER", help="all that lie there")
    which.add_argument("--history", action="store_true", help="show the newest moves")
    parser.add_argument("--to", metavar="SERVER", help="default: the one with the most room")
    parser.add_argument(
        "--read-only-seconds",
        type=float,
        default=moving.LONGEST_HOLD.total_seconds(),
        help="the longest for which a tenant may be read-only (300)",
    )
    parser.add_argument("--json", action="store_true", help="report as one JSON document")
    return parser.parse_args()


def chosen(arguments: argparse.Namespace) -> list[UUID]:
    if arguments.source is None:
        return list(arguments.tenant_id)
    with platform_session() as session:
        return list(moving.tenants_on(session, arguments.source))


def move_one(tenant_id: UUID, arguments: argparse.Namespace) -> dict[str, Any]:
    with platform_session() as session:
        target = arguments.to or servers.place(session, besides=moving.where(session, tenant_id))
    steps = moving.STEPS

    def show(step: str) -> None:
        if sys.stderr.isatty():
            draw_bar(steps.index(step), len(steps), f"{tenant_id} {step}")

    try:
        moved = moving.move(
            current_manager(),
            tenant_id=tenant_id,
            target=target,
            longest=timedelta(seconds=arguments.read_only_seconds),
            tell=show,
        )
    except MoveFailed as error:
        told: dict[str, Any] = {"tenant_id": tenant_id, "error": error.detail}
        line = f"FAILED {tenant_id}: {error.detail}"
    else:
        told = asdict(moved)
        line = (
            f"{tenant_id}: {moved.source} to {moved.target}, {sum(moved.rows.values())} rows,"
            f" read-only for {moved.read_only_seconds:.2f} s"
        )
        if sys.stderr.isatty():
            draw_bar(len(steps), len(steps), str(tenant_id))
    if not arguments.json:
        print(line, flush=True)
    return told


def show_history(*, as_json: bool) -> None:
    with platform_session() as session:
        rows = [
            {
                "tenant_id": str(each.tenant_id),
                "from": each.source,
                "to": each.target,
                "step": each.step,
                "started_at": each.created_at.isoformat(),
                "read_only_seconds": each.read_only_seconds,
                "rows": each.verified,
                "failure": each.failure,
            }
            for each in moving.newest(session, limit=50)
        ]
    if as_json:
        print(json.dumps({"moves": rows}))
        return
    for row in rows:
        failure = f", {row['failure']}" if row["failure"] else ""
        print(
            f"{row['started_at']} {row['tenant_id']} {row['from']} to {row['to']}:"
            f" {row['step']}{failure}"
        )


def stop(arguments: argparse.Namespace, words: str, code: int) -> None:
    if arguments.json:
        print(json.dumps({"error": words}))
    else:
        print(words, file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
