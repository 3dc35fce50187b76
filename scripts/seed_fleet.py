"""Make many tenants to try things on at scale, or take them away again with --remove.

They are named fleet-0001 and so on, belong to Alice, and carry the tag "seeded", by which --remove
finds them. Repeating it makes only what is missing.

Exit codes: 0 done; 1 some tenants could not be made or removed; 2 wrong arguments; 6 a server that
is needed is away.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final
from uuid import UUID

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "backend"))

from flask import Flask, current_app
from sqlalchemy import text

from app.core import ids
from app.core.caller import Caller
from app.core.db import main_session, platform_session
from app.core.errors import AppError
from app.domains.documents.service import receiving
from app.domains.documents.service.quota import Limits
from app.domains.fleet.cli import draw_bar
from app.domains.fleet.service.parallel import in_parallel
from app.domains.identity.service import users
from app.domains.tenants.service import deletion, directory, ledger, lifecycle
from app.factory import create_app
from app.integrations.storage import current_storage
from app.settings import load_settings
from app.tenancy.manager import current_manager

TAG: Final = "seeded"
EMAIL: Final = "alice@acme.example"


def main() -> None:
    arguments = parse()
    settings = load_settings()
    app = create_app(settings)
    try:
        with app.app_context():
            work, items = orders(app, arguments)
            failures = carry_out(work, items, jobs=arguments.jobs or settings.fleet_jobs)
    except AppError as error:
        print(error.detail, file=sys.stderr)
        sys.exit(6)
    done = len(items) - len(failures)
    verb = "removed" if arguments.remove else "there"
    if arguments.json:
        print(json.dumps({verb: done, "failed": failures}))
    else:
        print("\n".join([f"FAILED {each}" for each in failures] + [f"{done} tenant(s) {verb}"]))
    sys.exit(1 if failures else 0)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tenants", type=int, default=200, help="how many there shall be (200)")
    parser.add_argument("--documents", type=int, default=0, help="in each of them (0)")
    parser.add_argument("--remove", action="store_true", help="delete every seeded tenant")
    parser.add_argument("--jobs", type=int, choices=range(1, 101), metavar="N", help="at a time")
    parser.add_argument("--json", action="store_true", help="report as one JSON document")
    arguments = parser.parse_args()
    if arguments.tenants < 1 or arguments.documents < 0:
        parser.error("there is no such number of tenants or documents")
    return arguments


def orders(app: Flask, arguments: argparse.Namespace) -> tuple[Callable[[str], None], list[str]]:
    """What to do with each item, which is a slug or, to be removed, an id."""
    if arguments.remove:
        with platform_session() as session:
            seeded = [each for each in ledger.with_database(session) if TAG in each.tags]

        def remove(tenant_id: str) -> None:
            with app.app_context():
                deletion.purge(current_manager(), current_storage(), tenant_id=UUID(tenant_id))

        return remove, [str(each.tenant_id) for each in seeded]
    owner_id = find_owner()

    def make(slug: str) -> None:
        with app.app_context():
            make_tenant(slug, owner_id, documents_wanted=arguments.documents)

    return make, [f"fleet-{number:04}" for number in range(1, arguments.tenants + 1)]


def carry_out(work: Callable[[str], None], items: list[str], *, jobs: int) -> list[str]:
    """What failed, with the reason: one failure stops no other."""

    def attempt(item: str) -> str | None:
        try:
            work(item)
        except Exception as error:  # noqa: BLE001  # told of at the end
            return f"{item}: {error}"
        return None

    failures = []
    for done, failure in enumerate(in_parallel(attempt, items, jobs=jobs), start=1):
        failures += [failure] if failure else []
        if sys.stderr.isatty():
            draw_bar(done, len(items), "tenants")
    return failures


def find_owner() -> UUID:
    with main_session() as session:
        alice = users.find_by_email(session, EMAIL) or users.create_user(
            session,
            current_app.extensions["passwords"],
            email=EMAIL,
            name="Alice",
            password=ids.new_token(),
            verified=True,
        )
        return alice.id


def make_tenant(slug: str, owner_id: UUID, *, documents_wanted: int) -> None:
    """Whatever is missing: the tenant, its tag, its documents."""
    manager = current_manager()
    with main_session(user_id=owner_id) as session:
        found = directory.find_by_slug(session, slug)
    if found is None:
        tenant_id = lifecycle.create_tenant(
            manager, name=slug.title(), slug=slug, owner_id=owner_id
        ).id
    else:
        tenant_id = found.id
        if found.name != slug.title():
            raise ValueError("a tenant of Alice's that was not seeded has this slug")
        if found.state in {"requested", "creating", "failed"}:
            lifecycle.provision(manager, tenant_id=tenant_id)
    with platform_session() as session:
        ledger.write_tags(session, tenant_id=tenant_id, tags=[TAG])
    add_documents(tenant_id, owner_id, wanted=documents_wanted)


def add_documents(tenant_id: UUID, owner_id: UUID, *, wanted: int) -> None:
    manager = current_manager()
    location = directory.TenantRegistry().locate_tenant(tenant_id)
    with manager.tenant_db_session(location) as session:
        there = int(session.scalar(text("SELECT count(*) FROM documents")) or 0)
    caller = Caller(
        user_id=owner_id,
        session_id=ids.new_id(),
        tenant_id=tenant_id,
        role="owner",
        permissions=frozenset(),
        location=location,
    )
    for number in range(there + 1, wanted + 1):
        receiving.upload_document(
            lambda: manager.tenant_db_session(location),
            current_storage(),
            caller=caller,
            name=f"Plan {number}.txt",
            content_type="text/plain",
            chunks=[f"Plan {number} of {tenant_id}\n".encode()],
            expected_bytes=0,
            limits=Limits(bytes=None, documents=None),
        )


if __name__ == "__main__":
    main()
