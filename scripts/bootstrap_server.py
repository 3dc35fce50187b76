"""Prepare a PostgreSQL server, as its superuser: roles, main database, empty template.

Repeating it is harmless. With --env-file the roles' URLs are kept in that file, and their
passwords reused from it; without, the URLs are printed.

Exit codes: 0 done; 1 refused, or the server cannot be prepared; 2 wrong arguments.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote, urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "backend"))

from app.tenancy.bootstrap import ForeignDatabases, OpenDatabases, prepare_server
from app.tenancy.names import Installation


def main() -> None:
    arguments = parse()
    installation = Installation(arguments.installation)
    known = read_env(arguments.env_file)
    try:
        urls = prepare_server(
            arguments.admin_url,
            installation,
            main_database=arguments.database or installation.id,
            foreign_databases=arguments.foreign_databases,
            passwords=passwords_in(known.values()),
        )
    except OpenDatabases as error:
        sys.exit(
            f"{error}.\nNothing was changed. Give --foreign-databases revoke to close them to"
            " PUBLIC, or ignore to leave them open to every tenant's role."
        )
    settings = {
        "INSTALLATION_ID": installation.id,
        "DATABASE_URL": urls[installation.app],
        "DATABASE_OWNER_URL": urls[installation.main_owner],
        "DATABASE_PLATFORM_URL": urls[installation.platform],
        "PROVISIONER_URL": urls[installation.provisioner],
    }
    if arguments.env_file is not None:
        write_env(arguments.env_file, known | settings)
    if arguments.json:
        kept = None if arguments.env_file is None else str(arguments.env_file)
        print(json.dumps({"env_file": kept, "settings": settings if kept is None else None}))
    elif arguments.env_file is None:
        print("\n".join(f"{key}={value}" for key, value in settings.items()))
    else:
        print(f"Server prepared for {installation.id}; its URLs are in {arguments.env_file}.")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--admin-url",
        default=os.environ.get("ADMIN_DATABASE_URL"),
        help="libpq URI of a superuser; better in ADMIN_DATABASE_URL, since ps shows arguments",
    )
    parser.add_argument("--installation", default="tenantry", help="id that marks what is ours")
    parser.add_argument("--database", help="the main database's name (default: the id)")
    parser.add_argument("--env-file", type=Path, help="where to keep the roles' URLs")
    parser.add_argument(
        "--foreign-databases",
        type=ForeignDatabases,
        choices=list(ForeignDatabases),
        default=ForeignDatabases.REFUSE,
        help="what to do about other databases that every role may connect to",
    )
    parser.add_argument("--json", action="store_true", help="report as one JSON document")
    arguments = parser.parse_args()
    if not arguments.admin_url:
        parser.error("give ADMIN_DATABASE_URL or --admin-url")
    return arguments


def read_env(path: Path | None) -> dict[str, str]:
    if path is None or not path.exists():
        return {}
    lines = (line.partition("=") for line in path.read_text().splitlines())
    return {key: value for key, equals, value in lines if equals and not key.startswith("#")}


def write_env(path: Path, values: dict[str, str]) -> None:
    path.touch(mode=0o600)
    path.write_text("".join(f"{key}={value}\n" for key, value in values.items()))


def passwords_in(values: Iterable[str]) -> dict[str, str]:
    """The password of each role whose URL is among the values."""
    parts = [urlsplit(value) for value in values if value.startswith("postgresql://")]
    return {
        unquote(part.username): unquote(part.password)
        for part in parts
        if part.username and part.password
    }


if __name__ == "__main__":
    main()
