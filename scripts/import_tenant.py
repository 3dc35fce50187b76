"""Make a tenant of an archive that an export wrote, in this installation or in another.

Its owner has an account here. People of the archive who have one too, by the same address, keep
what they own; --invite asks all of them to become members, in the owner's name. The audit trail is
in the archive to read, and does not become the new tenant's.

Exit codes: 0 done; 1 refused, and no tenant was made; 2 wrong arguments; 6 a server that is needed
is away.
"""

import argparse
import json
import re
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "backend"))

from app.core.db import platform_session
from app.core.errors import AppError, Unavailable
from app.domains.backups.service import importing
from app.domains.backups.service.importing import Imported
from app.domains.fleet.cli import draw_bar
from app.domains.identity.service import users
from app.factory import create_app
from app.integrations.storage import current_storage
from app.settings import load_settings
from app.tenancy.manager import current_manager

_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def main() -> None:
    arguments = parse()
    settings = load_settings(for_jobs=True)
    with create_app(settings).app_context():
        try:
            with platform_session() as session:
                owner = users.find_by_email(session, arguments.owner)
            if owner is None:
                print(f"nobody here has the address {arguments.owner}", file=sys.stderr)
                sys.exit(1)
            imported = importing.import_archive(
                current_manager(),
                current_storage(),
                settings,
                path=arguments.archive,
                slug=arguments.slug,
                name=arguments.name or arguments.slug,
                owner_id=owner.id,
                invite=arguments.invite,
                tell=tell,
            )
        except Unavailable as error:
            print(error.detail, file=sys.stderr)
            sys.exit(6)
        except (AppError, OSError) as error:
            print(getattr(error, "detail", str(error)), file=sys.stderr)
            sys.exit(1)
    report(imported, arguments)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--archive", type=Path, required=True, help="what an export wrote")
    parser.add_argument("--owner", required=True, metavar="EMAIL", help="who has an account here")
    parser.add_argument("--slug", required=True, help="of the new tenant")
    parser.add_argument("--name", help="of the new tenant; else the slug")
    parser.add_argument("--invite", action="store_true", help="invite the archive's people")
    parser.add_argument("--json", action="store_true", help="report as one JSON document")
    arguments = parser.parse_args()
    if not _SLUG.fullmatch(arguments.slug):
        parser.error("a slug is 1 to 63 of a-z, 0-9 and -, not at the ends")
    return arguments


def tell(done: int, of: int, what: str) -> None:
    if sys.stderr.isatty():
        draw_bar(done, of, what)


def report(imported: Imported, arguments: argparse.Namespace) -> None:
    if arguments.json:
        print(json.dumps(asdict(imported) | {"tenant_id": str(imported.tenant_id)}))
        return
    print(
        f"{arguments.slug} ({imported.tenant_id}): {imported.rows} row(s),"
        f" {imported.files} file(s), {imported.missing} missing, {imported.invited} invited"
    )


if __name__ == "__main__":
    main()
