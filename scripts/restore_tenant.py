"""Restore a tenant from one of its backups, beside what it has now; then swap it in.

    restore_tenant.py --tenant-id ID --backup BACKUP          restore and inspect; nothing changes
    restore_tenant.py --tenant-id ID --backup BACKUP --swap   and make it the tenant's database
    restore_tenant.py --tenant-id ID --list                   what lies beside the tenant's database
    restore_tenant.py --tenant-id ID --swap-in KEPT           make that the tenant's database
    restore_tenant.py --tenant-id ID --discard KEPT           drop that, and its files

The database that was replaced is kept for RESTORE_GRACE_DAYS under the same KEPT id: --swap-in
brings it back. Connections to it end, in every process.

Exit codes: 0 done; 1 refused, or the backup is damaged: the tenant is as it was; 2 wrong arguments;
6 a server that is needed is away.
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
from app.domains.backups.service import restoring
from app.domains.fleet.cli import draw_bar
from app.domains.tenants.service import kept
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
            report = run(settings, arguments)
        except Unavailable as error:
            print(error.detail, file=sys.stderr)
            sys.exit(6)
        except (AppError, DumpFailed) as error:
            print(getattr(error, "detail", str(error)), file=sys.stderr)
            sys.exit(1)
    if arguments.json:
        print(json.dumps(report))
    else:
        show(report)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tenant-id", type=UUID, required=True)
    verb = parser.add_mutually_exclusive_group(required=True)
    verb.add_argument("--backup", type=UUID, help="restore this one; backup_tenant.py --list")
    verb.add_argument("--list", action="store_true", help="show what lies beside the database")
    verb.add_argument("--swap-in", type=UUID, metavar="KEPT")
    verb.add_argument("--discard", type=UUID, metavar="KEPT")
    parser.add_argument("--swap", action="store_true", help="with --backup: swap it in as well")
    parser.add_argument("--json", action="store_true", help="report as one JSON document")
    arguments = parser.parse_args()
    if arguments.swap and not arguments.backup:
        parser.error("--swap goes with --backup; --swap-in takes what was restored before")
    return arguments


def run(settings: Settings, arguments: argparse.Namespace) -> dict[str, Any]:
    manager, storage, tenant_id = current_manager(), current_storage(), arguments.tenant_id
    if arguments.list:
        return {"beside": beside(tenant_id)}
    if arguments.discard:
        kept.drop(manager, storage, tenant_id=tenant_id, kept_id=arguments.discard)
        return {"discarded": str(arguments.discard)}
    if arguments.swap_in:
        return swap(settings, tenant_id, arguments.swap_in)
    restored = restoring.restore(
        manager, storage, settings, tenant_id=tenant_id, backup_id=arguments.backup, tell=tell
    )
    report = asdict(restored) | {"kept_id": str(restored.kept_id)}
    return report | (swap(settings, tenant_id, restored.kept_id) if arguments.swap else {})


def swap(settings: Settings, tenant_id: UUID, kept_id: UUID) -> dict[str, Any]:
    grace = timedelta(days=settings.restore_grace_days)
    present = kept.swap(current_manager(), tenant_id=tenant_id, kept_id=kept_id, grace=grace)
    return {"present": present.database, "swap_back": str(kept_id)}


def beside(tenant_id: UUID) -> list[dict[str, Any]]:
    with platform_session() as session:
        return [
            {
                "kept_id": str(row.id),
                "kind": row.kind,
                "database": row.database,
                "revision": row.schema_revision,
                "backup_id": row.backup_id and str(row.backup_id),
                "expires_at": row.expires_at.isoformat(timespec="seconds"),
            }
            for row in kept.rows_of(session, tenant_id)
        ]


def tell(done: int, of: int, what: str) -> None:
    if sys.stderr.isatty():
        draw_bar(done, of, what)


def show(report: dict[str, Any]) -> None:
    for name, value in report.items():
        if isinstance(value, list):
            for row in value:
                print("  ".join(str(each) for each in row.values()))
            print(f"{len(value)} database(s) beside the tenant's")
        elif isinstance(value, dict):
            for table, rows in value.items():
                print(f"    {table}: {rows} row(s)")
        else:
            print(f"{name}: {value}")


if __name__ == "__main__":
    main()
