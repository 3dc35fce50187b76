"""Back up tenants, each as it is at one moment, while they are used.

The backups lie sealed (BACKUP_KEYS) in the store, below backups/. --prove restores each tenant's
newest backup into a database of its own, compares it, and drops that again. --clear-up removes what
killed processes left; every backup does so for its own tenant.

Exit codes: 0 done; 1 some tenants' could not be taken or proven; 2 wrong arguments; 6 a server that
is needed is away, or settings are missing.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "backend"))

from app.core.db import platform_session
from app.core.errors import AppError, Unavailable
from app.domains.backups.errors import BackupKeysMissing
from app.domains.backups.service import restoring, taking, upkeep
from app.domains.fleet.cli import draw_bar
from app.domains.tenants.service import ledger
from app.factory import create_app
from app.integrations.storage import current_storage
from app.settings import Settings, load_settings
from app.tenancy.dumping import DumpFailed
from app.tenancy.manager import current_manager


def main() -> None:
    arguments = parse()
    settings = load_settings(for_jobs=True)
    with create_app(settings).app_context():
        try:
            failed = run(settings, arguments)
        except (Unavailable, BackupKeysMissing) as error:
            print(error.detail, file=sys.stderr)
            sys.exit(6)
    sys.exit(1 if failed else 0)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--tenant-id", type=UUID, action="append", help="this one; repeatable")
    which.add_argument("--all", action="store_true", help="every tenant that has a database")
    which.add_argument("--list", action="store_true", help="show the backups that there are")
    which.add_argument("--clear-up", action="store_true", help="remove what killed processes left")
    parser.add_argument("--prove", action="store_true", help="prove the newest, take none")
    parser.add_argument("--json", action="store_true", help="one JSON document per tenant and line")
    return parser.parse_args()


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    if arguments.list:
        show_all(as_json=arguments.json)
        return 0
    if arguments.clear_up:
        cleared = upkeep.clear_up(current_manager(), current_storage(), settings)
        print(
            json.dumps({"cleared": cleared}) if arguments.json else f"{cleared} left-over(s) gone"
        )
        return 0
    tenants = arguments.tenant_id or everybody()
    verb = prove if arguments.prove else take
    failed = 0
    for number, outcome in enumerate(attempts(verb, settings, tenants), start=1):
        failed += "error" in outcome
        if arguments.json:
            print(json.dumps(outcome), flush=True)
        else:
            what = outcome.get("error") or f"{outcome['backup_id']} in {outcome['seconds']} s"
            print(f"{number}/{len(tenants)} {outcome['tenant_id']}  {what}", flush=True)
    return failed


def attempts(
    verb: Callable[[Settings, UUID], UUID], settings: Settings, tenants: Sequence[UUID]
) -> Iterator[dict[str, Any]]:
    """What came of each; one tenant's failure stops no other's backup."""
    for tenant_id in tenants:
        outcome: dict[str, Any] = {"tenant_id": str(tenant_id)}
        start = time.monotonic()
        try:
            outcome["backup_id"] = str(verb(settings, tenant_id))
        except BackupKeysMissing:
            raise
        except (AppError, DumpFailed) as error:
            outcome["error"] = getattr(error, "detail", str(error))
        yield outcome | {"seconds": round(time.monotonic() - start, 2)}


def take(settings: Settings, tenant_id: UUID) -> UUID:
    return taking.take(
        current_manager(), current_storage(), settings, tenant_id=tenant_id, tell=tell
    )


def prove(settings: Settings, tenant_id: UUID) -> UUID:
    return restoring.prove(current_manager(), current_storage(), settings, tenant_id=tenant_id)


def everybody() -> list[UUID]:
    with platform_session() as session:
        return [entry.tenant_id for entry in ledger.with_database(session)]


def tell(done: int, of: int, what: str) -> None:
    if sys.stderr.isatty() and what == "files":
        draw_bar(done, of, what)


def show_all(*, as_json: bool) -> None:
    with platform_session() as session:
        for backup in upkeep.list_backups(session, tenant_id=None):
            row = {
                "backup_id": str(backup.id),
                "tenant_id": str(backup.tenant_id),
                "taken_at": backup.created_at.isoformat(timespec="seconds"),
                "state": backup.state,
                "origin": backup.origin,
                "revision": backup.revision,
                "rows": backup.rows,
                "files": backup.files,
                "bytes": backup.bytes,
                "proven_at": backup.proven_at and backup.proven_at.isoformat(timespec="seconds"),
                "failure": backup.failure or backup.proof_failure,
            }
            print(json.dumps(row) if as_json else "  ".join(str(each) for each in row.values()))


if __name__ == "__main__":
    main()
