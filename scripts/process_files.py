"""Have stored files looked into again: whether they are whole, what they are, which text they hold.

For files that were there before their text could be searched, and for those that failed. It writes
jobs, which workers of the queue `documents` do; what is searched meanwhile stays as it is.

Exit codes: 0 all jobs are written; 1 a tenant could not be reached, or a setting is wrong; 2 wrong
arguments.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from uuid import UUID

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "backend"))

from app.core.errors import AppError
from app.domains.documents.models import Processing
from app.domains.documents.service import processing
from app.domains.fleet.cli import draw_bar
from app.domains.tenants.service import directory
from app.factory import create_app
from app.settings import load_settings
from app.tenancy.locations import TenantLocation
from app.tenancy.manager import current_manager

UNDONE = (Processing.PENDING, Processing.FAILED)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tenant-id", type=UUID, help="of this tenant alone; default: of all")
    parser.add_argument(
        "--state",
        action="append",
        type=Processing,
        choices=list(Processing),
        help="files that are so far; may be repeated (pending and failed)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document per tenant and line")
    arguments = parser.parse_args()
    with create_app(load_settings()).app_context():
        try:
            locations = _locations(arguments.tenant_id)
        except AppError as error:
            sys.exit(error.detail)
        refused = process(locations, arguments.state or UNDONE, as_json=arguments.json)
    sys.exit(1 if refused else 0)


def process(
    locations: Sequence[TenantLocation], states: Sequence[Processing], *, as_json: bool
) -> int:
    """Prints each tenant as it is done; how many refused."""
    refused = 0
    for number, location in enumerate(locations, start=1):
        if sys.stderr.isatty():
            draw_bar(number, len(locations), location.database)
        told: dict[str, object] = {"tenant_id": str(location.tenant_id)}
        open_session = partial(current_manager().tenant_db_session, location)
        try:
            told["files"] = sum(processing.process_again(open_session, states=states))
        except AppError as error:
            refused += 1
            told["refused"] = error.detail
        print(json.dumps(told) if as_json else _as_line(told), flush=True)
    return refused


def _as_line(told: dict[str, object]) -> str:
    if "refused" in told:
        return f"{told['tenant_id']}  refused: {told['refused']}"
    return f"{told['tenant_id']}  {told['files']} file(s)"


def _locations(tenant_id: UUID | None) -> Sequence[TenantLocation]:
    if tenant_id is not None:
        return [directory.TenantRegistry().locate_tenant(tenant_id)]
    return directory.active_locations()


if __name__ == "__main__":
    main()
