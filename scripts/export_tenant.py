"""Write all data of a tenant into a ZIP archive for it to take away: rows, files, members.

The archive is open and needs no code of this product; docs/backups.md says what is in it. It is
readable by its owner alone, and holds personal data: hand it over, then delete it.

Exit codes: 0 done; 1 refused, or a file could not be read, and nothing was written; 2 wrong
arguments; 6 a server that is needed is away.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from uuid import UUID

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "backend"))

from app.core.errors import AppError, Unavailable
from app.domains.backups.service import exporting
from app.domains.fleet.cli import draw_bar
from app.factory import create_app
from app.integrations.storage import current_storage
from app.settings import load_settings
from app.tenancy.manager import current_manager


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tenant-id", type=UUID, required=True)
    parser.add_argument("--output", type=Path, required=True, help="the archive; not there yet")
    parser.add_argument("--json", action="store_true", help="print the archive's manifest")
    arguments = parser.parse_args()
    if arguments.output.exists():
        parser.error(f"{arguments.output} exists already")
    os.umask(0o077)
    with create_app(load_settings(for_jobs=True)).app_context():
        try:
            manifest = exporting.export(
                current_manager(),
                current_storage(),
                tenant_id=arguments.tenant_id,
                path=arguments.output,
                tell=tell,
            )
        except Unavailable as error:
            print(error.detail, file=sys.stderr)
            sys.exit(6)
        except (AppError, OSError) as error:
            print(getattr(error, "detail", str(error)), file=sys.stderr)
            sys.exit(1)
    if arguments.json:
        print(json.dumps(manifest))
        return
    rows = sum(each.get("rows", 0) for each in manifest["entries"].values())
    files = sum(name.startswith("files/") for name in manifest["entries"])
    missing = len(manifest["missing_files"])
    print(f"{arguments.output}: {rows} row(s), {files} file(s), {missing} missing")


def tell(done: int, of: int, what: str) -> None:
    if sys.stderr.isatty():
        draw_bar(done, of, what)


if __name__ == "__main__":
    main()
