"""Show a tenant's own quota, or change it.

Without --max-bytes and --max-documents it only shows. "none" takes a limit back: the
installation's (TENANT_QUOTA_BYTES, TENANT_QUOTA_DOCUMENTS) holds again.

Exit codes: 0 done; 1 it could not be done; 2 wrong arguments.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "backend"))

from app.core.errors import AppError
from app.domains.documents import schemas
from app.domains.documents.service import own_quota
from app.factory import create_app
from app.settings import load_settings
from app.tenancy.manager import current_manager

_LIMITS = ("max_bytes", "max_documents")
_LARGEST = 2**53


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tenant-id", type=UUID, required=True)
    parser.add_argument("--max-bytes", type=_limit, metavar="N", help='a number, or "none"')
    parser.add_argument("--max-documents", type=_limit, metavar="N", help='a number, or "none"')
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments = parser.parse_args()
    given = {name: getattr(arguments, name) for name in _LIMITS}
    limits = {name: value[0] for name, value in given.items() if value is not None}
    with create_app(load_settings()).app_context():
        try:
            quota = _quota(arguments.tenant_id, limits)
        except AppError as error:
            sys.exit(error.detail)
    _show(quota, as_json=arguments.json)


def _limit(given: str) -> tuple[int | None]:
    """In a tuple, because a limit that is taken back is not one that was not given."""
    if given.lower() == "none":
        return (None,)
    number = int(given)
    if not 0 <= number <= _LARGEST:
        raise argparse.ArgumentTypeError(f"a number from 0 to {_LARGEST}, or none")
    return (number,)


def _quota(tenant_id: UUID, limits: dict[str, int | None]) -> dict[str, Any]:
    manager = current_manager()
    if limits:
        quota = own_quota.set_quota(manager, tenant_id=tenant_id, **limits)
    else:
        quota = own_quota.get_quota(manager, tenant_id=tenant_id)
    shown: dict[str, Any] = schemas.Quota().dump(quota)
    return shown


def _show(quota: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(quota))
        return
    for what in ("bytes", "documents"):
        limit = quota[f"max_{what}"]
        own = "no limit of its own" if limit is None else f"at most {limit:,}"
        print(f"{what:<10} {quota[f'used_{what}']:>18,} used, {own}")


if __name__ == "__main__":
    main()
