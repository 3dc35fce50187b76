"""Audit how tenants are kept apart: what the catalogs say, and what each tenant's login can do.

Nothing is changed: what gets through is rolled back. With --report, and REPORT_SIGNING_KEY set, the
outcome is written as a signed document; --check tells whether one is genuine.

Exit codes: 0 no breach, or a genuine report; 1 a breach, or a report that is not genuine; 2 wrong
arguments, or no key to sign with; 6 a server that is needed is away.
"""

import argparse
import json
import sys
from pathlib import Path
from uuid import UUID

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "backend"))

from app.core.errors import AppError
from app.domains.fleet.cli import draw_bar
from app.domains.fleet.service import auditing, reports
from app.domains.fleet.service.auditing import Audit
from app.factory import create_app
from app.settings import Settings, load_settings
from app.tenancy.manager import current_manager


def main() -> None:
    arguments = parse()
    if arguments.check:
        sys.exit(check(arguments.check, arguments.public_key))
    settings = load_settings()
    if arguments.report and settings.report_signing_key is None:
        print("REPORT_SIGNING_KEY is needed to sign a report.", file=sys.stderr)
        sys.exit(2)
    with create_app(settings).app_context():
        try:
            audit = auditing.audit(
                current_manager(),
                settings,
                jobs=arguments.jobs or settings.fleet_jobs,
                tenant_ids=arguments.tenant_id,
                tell=tell,
            )
        except AppError as error:
            print(error.detail, file=sys.stderr)
            sys.exit(6)
    show(audit, settings, arguments)
    sys.exit(1 if audit.breaches else 0)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tenant-id", type=UUID, action="append", help="try only this one's login")
    parser.add_argument("--jobs", type=int, choices=range(1, 101), metavar="N", help="at a time")
    parser.add_argument("--json", action="store_true", help="report as one JSON document")
    parser.add_argument("--report", type=Path, help="write a signed report to this file")
    parser.add_argument("--check", type=Path, help="only tell whether this report is genuine")
    parser.add_argument("--public-key", help="of who is to have signed it, as --report prints it")
    arguments = parser.parse_args()
    if arguments.check and not arguments.public_key:
        parser.error("--check needs --public-key: the key inside a report proves nothing")
    return arguments


def tell(done: int, total: int) -> None:
    if sys.stderr.isatty():
        draw_bar(done, total, "tenants")


def show(audit: Audit, settings: Settings, arguments: argparse.Namespace) -> None:
    written = None
    if arguments.report and settings.report_signing_key is not None:
        written = reports.signed(audit, settings.report_signing_key)
        arguments.report.write_text(json.dumps(written, indent=2) + "\n")
    if arguments.json:
        print(json.dumps(written or reports.document(audit)))
        return
    for each in audit.breaches:
        print(f"BREACH   {each.check:<18} {each.words}")
    for each in audit.warnings:
        print(f"warning  {each.check:<18} {each.words} (not of this installation)")
    print(
        f"{audit.tenants} tenant(s), {audit.attempts} attempts: {len(audit.breaches)} breach(es),"
        f" {len(audit.warnings)} warning(s)"
    )
    if written is not None:
        print(f"signed: {arguments.report}, public key {written['public_key']}")


def check(path: Path, public_key: str) -> int:
    try:
        genuine = reports.is_genuine(json.loads(path.read_text()), public_key)
    except (OSError, ValueError) as error:
        print(f"{path} is no report: {error}", file=sys.stderr)
        return 2
    print("genuine" if genuine else "NOT genuine: changed, or signed with another key")
    return 0 if genuine else 1


if __name__ == "__main__":
    main()
