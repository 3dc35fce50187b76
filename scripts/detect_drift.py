"""Compare each tenant's catalog with what its schema revision makes; print the SQL that mends it.

Reads catalogs only. SQL that would lose rows is commented out; run the rest, after reading it, as
the schema's owner (psql as the provisioner, then SET ROLE).

Exit codes: 0 every tenant is as it should be; 1 some are not, or could not be read; 2 wrong
arguments; 6 a server that is needed is away.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "backend"))

from app.core.errors import AppError
from app.domains.fleet.cli import draw_bar
from app.domains.fleet.service import inspecting
from app.domains.fleet.service.inspecting import Inspection
from app.factory import create_app
from app.settings import load_settings
from app.tenancy.manager import current_manager


def main() -> None:
    arguments = parse()
    settings = load_settings()
    drifted = []
    done = 0
    with create_app(settings).app_context():
        try:
            for done, each in enumerate(
                inspecting.inspect(
                    current_manager(),
                    jobs=arguments.jobs or settings.fleet_jobs,
                    tenant_ids=arguments.tenant_id,
                    sample=arguments.sample,
                ),
                start=1,
            ):
                if not each.is_well:
                    drifted.append(each)
                    if not arguments.json:
                        show(each, with_sql=arguments.sql)
                if sys.stderr.isatty():
                    draw_bar(done, each.of, "tenants")
        except AppError as error:
            print(error.detail, file=sys.stderr)
            sys.exit(6)
    if arguments.json:
        print(json.dumps({"inspected": done, "drifted": [as_dict(each) for each in drifted]}))
    else:
        print(f"{done} tenant(s) inspected, {len(drifted)} not as they should be")
    sys.exit(1 if drifted else 0)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tenant-id", type=UUID, action="append", help="only this one")
    parser.add_argument("--sample", type=int, metavar="N", help="only N tenants, by chance")
    parser.add_argument("--jobs", type=int, choices=range(1, 101), metavar="N", help="at a time")
    parser.add_argument("--sql", action="store_true", help="print the SQL that mends it, too")
    parser.add_argument("--json", action="store_true", help="report as one JSON document")
    return parser.parse_args()


def show(inspection: Inspection, *, with_sql: bool) -> None:
    entry = inspection.entry
    print(f"{entry.slug} {entry.tenant_id} ({entry.location.database})")
    if inspection.error is not None:
        print(f"    {inspection.error}")
        return
    if inspection.ledger_is_wrong:
        print(f"    is at {inspection.revision}, and the ledger says {entry.revision}")
    for each in inspection.differences:
        print(f"    {each.words}")
        if with_sql:
            print(f"        {each.repair}")


def as_dict(inspection: Inspection) -> dict[str, Any]:
    entry = inspection.entry
    return {
        "tenant_id": str(entry.tenant_id),
        "slug": entry.slug,
        "database": entry.location.database,
        "revision": inspection.revision,
        "ledger_revision": entry.revision,
        "error": inspection.error,
        "differences": [
            {
                "change": each.change,
                "kind": each.kind,
                "name": each.name,
                "words": each.words,
                "repair": each.repair,
            }
            for each in inspection.differences
        ],
    }


if __name__ == "__main__":
    main()
