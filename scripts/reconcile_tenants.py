"""Compare the ledger of tenants with the server and, with --apply, mend what a crash left.

Touches only what this installation made. Exits 1 where something is left to do.
"""

import argparse
import json
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "backend"))

from app.domains.tenants.service import reconciliation
from app.factory import create_app
from app.integrations.storage import current_storage
from app.settings import load_settings
from app.tenancy.manager import current_manager


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--apply", action="store_true", help="mend; without it, only report")
    parser.add_argument("--json", action="store_true", help="report as one JSON document")
    arguments = parser.parse_args()
    with create_app(load_settings()).app_context():
        findings = reconciliation.find_faults(current_manager())
        if arguments.apply:
            mend = partial(reconciliation.mend, current_manager(), current_storage())
            findings = [mend(each) for each in findings]
    if arguments.json:
        print(json.dumps([as_dict(each) for each in findings]))
    else:
        for each in findings:
            print(f"{each.fault:<11} {each.database}  {each.outcome or 'would be mended'}")
        print(f"{len(findings)} finding(s){'' if arguments.apply else ', nothing was changed'}")
    sys.exit(1 if any(left_over(each) for each in findings) else 0)


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
