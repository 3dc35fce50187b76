"""Erase a person from the audit trails; without --apply, only count.

Of each entry that somebody made, that was made on that account's behalf, or that is about it or
names it, the address and the details are taken out for good. The entry stays, with the account's
id, and the trail still verifies; an entry audit.erased says how many there were. All trails are
gone through unless --tenant-id names some; the platform's always is.

It changes the trails alone, and needs DATABASE_OWNER_URL beside the other settings. Can be
repeated: after a restored backup, which brings back what was erased since, it has to be.

Exit codes: 0 done; 1 a trail could not be changed, and it says which; 2 wrong arguments; 6 the main
database is away.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import UUID

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "backend"))

import psycopg
from sqlalchemy.exc import OperationalError

from app.core.db import platform_session
from app.core.errors import AppError
from app.core.events import Origin, originating
from app.domains.audit.service import erasing, verification
from app.domains.audit.service.checkpoints import PLATFORM
from app.domains.audit.service.erasing import Person
from app.domains.fleet.cli import draw_bar
from app.domains.identity.service import users
from app.factory import create_app
from app.integrations.storage import current_storage
from app.settings import Settings, load_settings
from app.tenancy.manager import current_manager


@dataclass(frozen=True, slots=True)
class Outcome:
    """``entries`` is None where the trail could not be changed."""

    trail: str
    entries: int | None
    error: str | None = None


def main() -> None:
    parser = parse()
    arguments = parser.parse_args()
    if arguments.user_id is None and not arguments.email:
        parser.error("name the person: --user-id, --email, or both")
    settings = load_settings(for_jobs=True)
    if settings.database_owner_url is None:
        parser.error("DATABASE_OWNER_URL is not set")
    owner_url = settings.database_owner_url.get_secret_value()
    with create_app(settings).app_context(), originating(Origin(task="erase_person")):
        try:
            person = person_of(arguments.user_id, arguments.email)
            tenants = arguments.tenant_id or verification.tenants()
            outcomes = list(
                erase(settings, owner_url, person, tenants=tenants, apply=arguments.apply)
            )
        except (OperationalError, psycopg.OperationalError) as error:
            print(str(error).partition("\n")[0], file=sys.stderr)
            sys.exit(6)
    report(outcomes, apply=arguments.apply, as_json=arguments.json)
    sys.exit(1 if any(each.error for each in outcomes) else 0)


def parse() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--user-id", type=UUID, help="the account; its present address is added")
    parser.add_argument(
        "--email", action="append", default=[], help="an address, former ones too; repeatable"
    )
    parser.add_argument("--tenant-id", type=UUID, action="append", help="this one; repeatable")
    parser.add_argument("--apply", action="store_true", help="erase; without it, only count")
    parser.add_argument("--json", action="store_true", help="report as one JSON document")
    return parser


def person_of(user_id: UUID | None, addresses: Sequence[str]) -> Person:
    """With the account's present address, if the account is still there."""
    with platform_session() as session:
        found = users.get_users(session, [] if user_id is None else [user_id])
        own = [user.email for user in found.values()]
    return Person(user_id=user_id, addresses=[*addresses, *own])


def erase(
    settings: Settings, owner_url: str, person: Person, *, tenants: Sequence[UUID], apply: bool
) -> Iterator[Outcome]:
    """Trail by trail; what went wrong with one does not hold up the others."""
    for done, tenant_id in enumerate(tenants, start=1):
        try:
            count = erasing.erase_from_tenant(
                current_manager(), settings, tenant_id=tenant_id, person=person, apply=apply
            )
            yield Outcome(str(tenant_id), count)
        except (AppError, psycopg.Error) as error:
            yield Outcome(str(tenant_id), None, str(error).partition("\n")[0])
        if sys.stderr.isatty():
            draw_bar(done, len(tenants), "tenants")
    count = erasing.erase_from_platform(
        current_storage(), settings, owner_url=owner_url, person=person, apply=apply
    )
    yield Outcome(PLATFORM, count)


def report(outcomes: Sequence[Outcome], *, apply: bool, as_json: bool) -> None:
    total = sum(each.entries or 0 for each in outcomes)
    if as_json:
        trails = [asdict(each) for each in outcomes]
        print(json.dumps({"applied": apply, "entries": total, "trails": trails}))
        return
    for each in outcomes:
        if each.error is not None:
            print(f"FAILED {each.trail}: {each.error}")
        elif each.entries:
            print(f"{each.trail}: {each.entries} entries")
    words = "erased" if apply else "would be erased; erase them with --apply"
    print(f"{total} entries {words}")


if __name__ == "__main__":
    main()
