"""Verify audit trails: that no entry was changed, removed, inserted or cut off since it was sealed.

Every entry is computed anew and compared with the signed checkpoints, which lie elsewhere: those of
tenants in the platform's trail, those of the platform in the file store. Nothing is changed. All
trails are verified unless some are named. --public-key names keys that are trusted beside those of
the settings; --show-key prints the one that signs at present.

Exit codes: 0 all is as it was sealed and signed; 1 it is not, or a trail could not be read; 2 wrong
arguments; 3 nothing is wrong, and no checkpoint vouches for the end of some trail; 6 a server that
is needed is away.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from uuid import UUID

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "backend"))

from sqlalchemy.exc import OperationalError

from app.core.errors import AppError, NotFound
from app.domains.audit.service import verification
from app.domains.audit.service.checkpoints import PLATFORM, Signer, Verifier
from app.domains.audit.service.findings import Verdict
from app.domains.fleet.cli import draw_bar
from app.factory import create_app
from app.integrations.storage import current_storage
from app.settings import Settings, load_settings
from app.tenancy.manager import current_manager


def main() -> None:
    parser = parse()
    arguments = parser.parse_args()
    settings = load_settings(for_jobs=True)
    if arguments.show_key:
        sys.exit(show_key(settings, as_json=arguments.json))
    try:
        verifier = Verifier.of(settings, arguments.public_key)
    except ValueError as error:
        parser.error(f"--public-key: {error}")
    with create_app(settings).app_context():
        try:
            verdicts = list(verify(settings, verifier, arguments))
        except NotFound as error:
            parser.error(error.detail)
        except (AppError, OperationalError) as error:
            print(str(error).partition("\n")[0], file=sys.stderr)
            sys.exit(6)
    report(verdicts, as_json=arguments.json)
    if not all(each.holds for each in verdicts):
        sys.exit(1)
    sys.exit(0 if all(each.proven for each in verdicts) else 3)


def parse() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tenant-id", type=UUID, action="append", help="this tenant's trail")
    parser.add_argument("--platform", action="store_true", help="the platform's trail")
    parser.add_argument(
        "--public-key", action="append", default=[], help="a key that is trusted, too"
    )
    parser.add_argument("--show-key", action="store_true", help="print the public key, and end")
    parser.add_argument("--json", action="store_true", help="report as one JSON document")
    return parser


def show_key(settings: Settings, *, as_json: bool) -> int:
    signer = Signer.of(settings)
    if signer is None:
        print("AUDIT_SIGNING_KEY is not set.", file=sys.stderr)
        return 2
    print(json.dumps({"public_key": signer.public_key}) if as_json else signer.public_key)
    return 0


def verify(
    settings: Settings, verifier: Verifier, arguments: argparse.Namespace
) -> Iterator[Verdict]:
    everything = not (arguments.tenant_id or arguments.platform)
    tenants = verification.tenants() if everything else arguments.tenant_id or []
    if everything or arguments.platform:
        yield verification.verify_platform(
            current_storage(),
            verifier,
            installation=settings.installation_id,
            tell=rows(PLATFORM),
        )
    for done, tenant_id in enumerate(tenants, start=1):
        yield verification.verify_tenant(
            current_manager(), verifier, tenant_id=tenant_id, tell=rows(str(tenant_id))
        )
        if sys.stderr.isatty():
            draw_bar(done, len(tenants), "tenants")


def rows(trail: str) -> Callable[[int], None]:
    """Tells how many entries of it are done, where somebody looks."""

    def tell(done: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{trail}: {done} entries", end="", file=sys.stderr, flush=True)

    return tell


def report(verdicts: list[Verdict], *, as_json: bool) -> None:
    if as_json:
        trails = [asdict(each) | {"holds": each.holds, "proven": each.proven} for each in verdicts]
        faulty = sum(not each.holds for each in verdicts)
        print(json.dumps({"trails": trails, "faulty": faulty}, default=str))
        return
    for each in verdicts:
        for finding in each.findings:
            where = "" if finding.position is None else f" at {finding.position}"
            which = "" if finding.entry is None else f" (entry {finding.entry})"
            print(f"FAULT  {each.trail}: {finding.kind}{where}: {finding.words}{which}")
        if each.count > len(each.findings):
            print(f"FAULT  {each.trail}: and {each.count - len(each.findings)} more")
        for note in each.notes:
            print(f"note   {each.trail}: {note}")
        state = "FAULTY" if not each.holds else "whole " if each.proven else "unproven"
        print(
            f"{state} {each.trail}: {each.entries} sealed entries, vouched for up to"
            f" {each.vouched}, {each.unsealed} not sealed yet, {each.erased} erased"
        )


if __name__ == "__main__":
    main()
