"""The PostgreSQL servers of the tenants' databases: list them, add one, drain one, take one away.

A further server is prepared by its superuser's URL, which is not kept: with ADMIN_DATABASE_URL set,
`add` makes the roles and the empty template there and keeps the provisioner's login, sealed.

Exit codes: 0 done; 1 a server does not answer; 2 wrong arguments, or it cannot be done.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "backend"))

from flask import Flask

from app.core.db import platform_session
from app.core.errors import AppError
from app.domains.tenants.models import ServerState
from app.domains.tenants.service import servers
from app.factory import create_app
from app.settings import Settings, load_settings
from app.tenancy import templates
from app.tenancy.bootstrap import ForeignDatabases, OpenDatabases, prepare_further_server
from app.tenancy.capacity import further_faults
from app.tenancy.manager import current_manager
from app.tenancy.server import Server, ServerUnavailable


def main() -> None:
    arguments = parse()
    settings = load_settings()
    app = create_app(settings)
    try:
        with app.app_context():
            if arguments.verb == "add":
                add(app, settings, arguments)
            elif arguments.verb == "remove":
                with platform_session() as session:
                    servers.remove(session, name=arguments.name)
            elif arguments.verb != "list":
                change(settings, arguments)
            report = show()
    except ServerUnavailable as error:
        print(error.detail, file=sys.stderr)
        sys.exit(1)
    except (AppError, OpenDatabases) as error:
        print(getattr(error, "detail", str(error)), file=sys.stderr)
        sys.exit(2)
    tell(report, as_json=arguments.json)
    sys.exit(0 if all(each["answers"] for each in report) else 1)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("list", help="which there are, and how full they are")
    for verb, words in (
        ("add", "one more, prepared with the superuser's URL in ADMIN_DATABASE_URL"),
        ("set", "change region or capacity; also of the default server"),
    ):
        one = verbs.add_parser(verb, help=words)
        one.add_argument("name", help="3 to 32 of a-z, 0-9 and -" if verb == "add" else None)
        one.add_argument("--region", help="what tenants may ask for")
        one.add_argument("--capacity", type=int, metavar="TENANTS", help="how many it may hold")
        if verb == "add":
            one.add_argument(
                "--foreign-databases",
                type=ForeignDatabases,
                choices=list(ForeignDatabases),
                default=ForeignDatabases.REFUSE,
                help="what to do about databases there that every role may connect to",
            )
    for verb, words in (
        ("drain", "no new tenants; move_tenant.py --from NAME moves those that are there"),
        ("activate", "undo drain"),
        ("remove", "forget one on which no tenant lies"),
    ):
        verbs.add_parser(verb, help=words).add_argument("name")
    for each in verbs.choices.values():
        each.add_argument("--json", action="store_true", help="report as one JSON document")
    return parser.parse_args()


def add(app: Flask, settings: Settings, arguments: argparse.Namespace) -> None:
    admin_url = os.environ.get("ADMIN_DATABASE_URL")
    if not admin_url:
        print("Give the superuser's URL of the new server in ADMIN_DATABASE_URL.", file=sys.stderr)
        sys.exit(2)
    manager = current_manager()
    with platform_session() as session:
        servers.require_new(session, arguments.name)
    url = prepare_further_server(
        admin_url, manager.installation, foreign_databases=arguments.foreign_databases
    )
    server = manager.servers.at(url)
    if faults := list(further_faults(arguments.name, server, settings)):
        # No process would start any more.
        print("\n".join(faults), file=sys.stderr)
        sys.exit(2)
    templates.ensure(server)
    with platform_session() as session:
        servers.add(
            session,
            app.extensions["secrets"],
            name=arguments.name,
            provisioner_url=url,
            region=arguments.region,
            capacity=arguments.capacity,
        )


def change(settings: Settings, arguments: argparse.Namespace) -> None:
    states = {"drain": ServerState.DRAINING, "activate": ServerState.ACTIVE}
    with platform_session() as session:
        servers.change(
            session,
            name=arguments.name,
            default_url=settings.provisioner_url.get_secret_value(),
            state=states.get(arguments.verb),
            region=getattr(arguments, "region", None),
            capacity=getattr(arguments, "capacity", None),
        )


def show() -> list[dict[str, object]]:
    with platform_session() as session:
        loads = servers.loads(session)
    known = current_manager().servers.all()
    return [{**asdict(load), "answers": answers(known, load.name)} for load in loads]


def answers(known: Mapping[str, Server], name: str) -> bool:
    try:
        known[name].ping()
    except (ServerUnavailable, KeyError):
        return False
    return True


def tell(report: list[dict[str, object]], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"servers": report}))
        return
    for each in report:
        room = "no end" if each["capacity"] is None else each["capacity"]
        state = "active" if each["active"] else "draining"
        print(
            f"{each['name']:<16} {state:<9} {each['region'] or '-':<12}"
            f" {each['tenants']} of {room}{'' if each['answers'] else '  DOES NOT ANSWER'}"
        )


if __name__ == "__main__":
    main()
