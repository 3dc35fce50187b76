"""Seal stored secrets anew: after a rotation of the key, or to move them into Vault or out of it.

Looks at every sealed secret of the main database and of the tenants' own. What a former key, or
another kind of sealing, had sealed is sealed as this installation does today: by the newest version
of the key in Vault where USE_VAULT is true, else by the first of SECRETS_KEYS. Secrets that Vault
sealed are sealed anew within Vault. Processes go on meanwhile; broken off, it is repeated.

Exit codes: 0 all are sealed by today's key; 1 some could not be read, or a tenant not be reached;
2 wrong arguments; 6 Vault or the main database is away.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "backend"))

from flask import Flask
from sqlalchemy.exc import OperationalError

from app.core.db import MainModel, platform_session
from app.core.errors import AppError
from app.core.secrets import Boxes
from app.domains.fleet.cli import draw_bar
from app.domains.sealing import service
from app.domains.sealing.service import Outcome
from app.domains.tenants.service import directory
from app.factory import SEALED_COLUMNS, create_app
from app.settings import load_settings
from app.tenancy.manager import current_manager

MAIN = [column for column in SEALED_COLUMNS if issubclass(column.model, MainModel)]
TENANT = [column for column in SEALED_COLUMNS if not issubclass(column.model, MainModel)]


def main() -> None:
    arguments = parse()
    app = create_app(load_settings(for_jobs=True))
    with app.app_context():
        try:
            report = status() if arguments.status else reseal(box(app, arguments.to))
        except AppError as error:
            print(error.detail, file=sys.stderr)
            sys.exit(6)
        except OperationalError:
            print("The main database is away.", file=sys.stderr)
            sys.exit(6)
    if arguments.json:
        print(json.dumps(report))
    else:
        for name, told in report.items():
            print(f"{name}: {', '.join(told) if isinstance(told, list) else told}")
    sys.exit(1 if report.get("unreadable") or report.get("not_reached") else 0)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--status", action="store_true", help="only count what is sealed how")
    parser.add_argument(
        "--to",
        choices=["vault", "fernet"],
        help="seal by this kind, whatever the processes do; fernet before Vault is given up",
    )
    parser.add_argument("--json", action="store_true", help="report as one JSON document")
    return parser.parse_args()


def box(app: Flask, kind: str | None) -> Boxes:
    boxes: Boxes = app.extensions["secrets"]
    if kind is None:
        return boxes
    try:
        return boxes.sealing_by(kind)
    except LookupError:
        needed = "USE_VAULT" if kind == "vault" else "SECRETS_KEYS"
        print(f"--to {kind} needs {needed}.", file=sys.stderr)
        sys.exit(2)


def status() -> dict[str, Any]:
    kinds: Counter[str] = service.count_kinds(MAIN, platform_session)
    for open_session in tenants():
        kinds += service.count_kinds(TENANT, open_session)
    return dict(sorted(kinds.items()))


def reseal(box: Boxes) -> dict[str, Any]:
    outcome, away = Outcome(), []
    total = sum(service.count_kinds(MAIN, platform_session).values())

    def tell(so_far: Outcome) -> None:
        if sys.stderr.isatty():
            draw_bar(so_far.looked_at, total, "secrets of the main database")

    service.reseal(box, MAIN, platform_session, outcome, tell=tell)
    for number, open_session in enumerate(opened := list(tenants()), start=1):
        try:
            service.reseal(box, TENANT, open_session, outcome)
        except AppError as error:
            away.append(f"{open_session.args[0].database}: {error.detail}")
        if sys.stderr.isatty():
            draw_bar(number, len(opened), "tenants")
    return {**asdict(outcome), "not_reached": away}


def tenants() -> Iterator["partial[Any]"]:
    """What opens each tenant's database that holds sealed secrets."""
    if TENANT:
        for location in directory.active_locations():
            yield partial(current_manager().tenant_db_session, location)


if __name__ == "__main__":
    main()
