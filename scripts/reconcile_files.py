"""Compare the stored files with the tenants' rows and, with --apply, delete stray bytes.

Finds bytes that no row knows (stray) and rows whose bytes are gone (missing; a backup may have
them, so they are only reported).

Exit codes: 0 nothing is left to do; 1 something is, or it could not be seen; 2 wrong arguments.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "backend"))

from app.core.errors import AppError
from app.domains.documents.service import reconciliation
from app.domains.fleet.cli import draw_bar
from app.domains.tenants.service import directory
from app.factory import create_app
from app.integrations.storage import current_storage
from app.settings import load_settings
from app.tenancy.locations import TenantLocation
from app.tenancy.manager import current_manager


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tenant-id", type=UUID, help="of this tenant alone; default: of all")
    parser.add_argument("--apply", action="store_true", help="delete; without it, only report")
    parser.add_argument(
        "--json", action="store_true", help="one JSON document per finding and line"
    )
    arguments = parser.parse_args()
    with create_app(load_settings()).app_context():
        try:
            left = reconcile(
                _locations(arguments.tenant_id), apply=arguments.apply, as_json=arguments.json
            )
        except AppError as error:
            sys.exit(error.detail)
    sys.exit(1 if left else 0)


def reconcile(locations: Sequence[TenantLocation], *, apply: bool, as_json: bool) -> int:
    """Prints each finding as it is made; how many are left."""
    found = left = 0
    storage = current_storage()
    for number, location in enumerate(locations, start=1):
        if sys.stderr.isatty():
            draw_bar(number, len(locations), location.database)
        for each in reconciliation.find_faults(current_manager(), storage, location, apply=apply):
            found, left = found + 1, left + (each.outcome is None)
            if as_json:
                print(
                    json.dumps(
                        {
                            "fault": each.fault,
                            "tenant_id": str(location.tenant_id),
                            "key": each.key,
                            "outcome": each.outcome,
                        }
                    ),
                    flush=True,
                )
            else:
                print(f"{each.fault:<8} {each.key}  {each.outcome or 'left alone'}", flush=True)
    if not as_json:
        print(f"{found} finding(s), {left} left")
    return left


def _locations(tenant_id: UUID | None) -> Sequence[TenantLocation]:
    if tenant_id is not None:
        return [directory.TenantRegistry().locate_tenant(tenant_id)]
    return directory.active_locations()


if __name__ == "__main__":
    main()
