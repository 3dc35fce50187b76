"""Bring an installation to a state in which it can serve; repeating it is harmless.

Migrates the main database, builds the tenants' template and makes the first signing key; with
--create-admin also the platform's administrator, with --create-test-tenant the tenants acme and
globex and their people, with --migrate-tenants also brings what an older release made to the newest
revision (a large fleet is better served by scripts/migrate_all_tenants.py, which goes in waves).
Settings come from the environment. A new person's password is DEMO_PASSWORD, or made up and printed
once.

Exit codes: 0 done; 1 a setting is wrong, or tenants could not be migrated; 2 wrong arguments.
"""

import argparse
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "backend"))

from flask import Flask, current_app
from flask_migrate import upgrade

from app.core import ids
from app.core.db import main_session
from app.domains.fleet.models import RunStatus
from app.domains.fleet.service import running
from app.domains.fleet.service.planning import Order
from app.domains.identity.service import keys, users
from app.domains.tenants.service import directory, lifecycle, members
from app.factory import create_app
from app.settings import load_settings
from app.tenancy import templates
from app.tenancy.manager import current_manager

ADMINISTRATOR = ("petra@platform.example", "Petra")
# Slug → members; the first owns the tenant.
TEST_TENANTS = {
    "acme": [
        ("alice@acme.example", "Alice", "owner"),
        ("ada@acme.example", "Ada", "admin"),
        ("ursula@acme.example", "Ursula", "user"),
        ("bob@acme.example", "Bob", "viewer"),
    ],
    "globex": [("mallory@globex.example", "Mallory", "owner")],
}


class Report:
    """What was done, told as it happens or as one JSON document at the end."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self.created: list[str] = []
        self.credentials: list[dict[str, str]] = []

    def step(self, text: str) -> None:
        self.created.append(text)
        if not self._as_json:
            print(f"  {text}", flush=True)

    def close(self) -> None:
        if self._as_json:
            print(json.dumps({"created": self.created, "credentials": self.credentials}))
            return
        for person in self.credentials:
            print(f"  {person['email']}  {person['password']}  ({person['note']})")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--create-admin", action="store_true", help="the platform's administrator")
    parser.add_argument("--create-test-tenant", action="store_true", help="acme and globex")
    parser.add_argument(
        "--migrate-tenants", action="store_true", help="bring all tenants to the newest revision"
    )
    parser.add_argument("--json", action="store_true", help="report as one JSON document")
    arguments = parser.parse_args()
    report = Report(as_json=arguments.json)
    app = create_app(load_settings())
    with app.app_context():
        prepare(app, report)
        if arguments.migrate_tenants:
            migrate_tenants(report)
        if arguments.create_admin:
            email, name = ADMINISTRATOR
            add_person(report, email, name, "platform administrator", platform="platform_admin")
        if arguments.create_test_tenant:
            for slug, crew in TEST_TENANTS.items():
                add_tenant(report, slug, crew)
    report.close()


def prepare(app: Flask, report: Report) -> None:
    if not app.config["MAIN_OWNER_URL"]:
        sys.exit("DATABASE_OWNER_URL is needed to migrate the main database.")
    upgrade()
    report.step("main database is at the newest revision")
    report.step(f"tenants' template {templates.ensure(current_manager().server)} is ready")
    with main_session() as session:
        if keys.ensure_signing_key(session, current_app.extensions["secrets"]):
            report.step("signing key made")


def migrate_tenants(report: Report) -> None:
    ended = running.start(current_manager(), Order(), tell=lambda _: None)
    if ended.status is not RunStatus.SUCCEEDED:
        sys.exit(f"Tenants could not be migrated: flask tenants migrate --history {ended.run_id}")
    report.step("all tenants are at the newest revision")


def add_person(
    report: Report, email: str, name: str, note: str, *, platform: str | None = None
) -> None:
    with main_session() as session:
        if users.find_by_email(session, email) is not None:
            return
        password = os.environ.get("DEMO_PASSWORD") or ids.new_token()
        users.create_user(
            session,
            current_app.extensions["passwords"],
            email=email,
            name=name,
            password=password,
            platform_role=platform,
            verified=True,
        )
    report.credentials.append({"email": email, "password": password, "note": note})


def add_tenant(report: Report, slug: str, crew: list[tuple[str, str, str]]) -> None:
    for email, name, role in crew:
        add_person(report, email, name, f"{role} of {slug}")
    with main_session() as session:
        people = [(users.find_by_email(session, email), role) for email, _, role in crew]
    user_ids = [(user.id, role) for user, role in people if user is not None]
    owner_id = user_ids[0][0]
    with main_session(user_id=owner_id) as session:
        tenant = directory.find_by_slug(session, slug)
    if tenant is None:
        tenant_id = lifecycle.create_tenant(
            current_manager(), name=slug.title(), slug=slug, owner_id=owner_id
        ).id
        report.step(f"tenant {slug} made, with its own database")
    else:
        tenant_id = tenant.id
        if tenant.state in ("requested", "creating", "failed"):
            lifecycle.provision(current_manager(), tenant_id=tenant_id)
            report.step(f"tenant {slug} finished")
    with main_session(tenant_id=tenant_id) as session:
        for user_id, role in user_ids:
            members.add_member(session, tenant_id=tenant_id, user_id=user_id, role=role)


if __name__ == "__main__":
    main()
