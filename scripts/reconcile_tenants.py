"""Compare the ledger of tenants with the server and, with --apply, mend what a crash left.

Touches only what this installation made.

Exit codes: 0 nothing is left to do; 1 something is, or a setting is wrong; 2 wrong arguments.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "backend"))

from app.domains.fleet.cli import draw_bar
from app.domains.tenants.service import reconciliation
from app.factory import create_app
from app.integrations.storage import current_storage
from app.settings import load_settings
from app.tenancy.manager import current_manager


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--apply", action="store_true", help="mend; without it, only report")
    parser.add_argument("--json", action="store_true", help="report as one JSON document")
    arguments = parser.parse_args()
    with create_app(load_settings()).app_context():
        findings = reconciliation.find_faults(current_manager())
        if arguments.apply:
            findings = mend(findings)
    if arguments.json:
        print(json.dumps([as_dict(each) for each in findings]))
    else:
        for each in findings:
            print(f"{each.fault:<11} {each.database}  {each.outcome or 'would be mended'}")
        print(f"{len(findings)} finding(s){'' if arguments.apply else ', nothing was changed'}")
    sys.exit(1 if any(left_over(each) for each in findings) else 0)


def mend(findings: Sequence[reconciliation.Finding]) -> list[reconciliation.Finding]:
    mended = []
    for each in findings:
        mended.append(reconciliation.mend(current_manager(), current_storage(), each))
        if sys.stderr.isatty():
            draw_bar(len(mended), len(findings), each.database)
    return mended


def as_dict(finding: reconciliation.Finding) -> dict[str, str | None]:
    return {
        "fault": finding.fault,
        "database": finding.database,
        "tenant_id": str(finding.tenant_id),
        "outcome": finding.outcome,
    }


def left_over(finding: reconciliation.Finding) -> bool:
    done = finding.outcome or ""
    return not done or done.startswith(("failed", "left alone"))


if __name__ == "__main__":
    main()
