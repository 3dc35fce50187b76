"""Prepares a PostgreSQL server, once, as its superuser: roles, main database, empty template.

Everything after that is done by roles that are no superuser. Repeating it is harmless.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, Final
from urllib.parse import quote, urlencode

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from app.tenancy.credentials import Credentials
from app.tenancy.names import Installation, lock_key
from app.tenancy.server import Connection, database_exists, statement


class ForeignDatabases(StrEnum):
    """What to do about other databases of the server that let every role connect."""

    REFUSE = "refuse"
    REVOKE = "revoke"
    IGNORE = "ignore"


class OpenDatabases(RuntimeError):
    """Databases of this server let PUBLIC connect, and so every tenant's role."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(f"these databases let every role connect: {', '.join(names)}")
        self.names = names


_MAINTENANCE: Final = ("postgres", "template1")

# What PUBLIC may do in a new database and only a superuser can take away: large objects are
# written outside all tables, and a language is all that DO needs.
_LARGE_OBJECTS: Final = """
    SELECT oid::regprocedure::text
    FROM pg_proc
    WHERE pronamespace = 'pg_catalog'::regnamespace
      AND (proname LIKE 'lo\\_%' OR proname IN ('loread', 'lowrite'))
"""
_LANGUAGES: Final = "SELECT lanname FROM pg_language WHERE lanpltrusted"


def prepare_server(
    admin_url: str,
    installation: Installation,
    *,
    main_database: str,
    foreign_databases: ForeignDatabases,
    passwords: Mapping[str, str],
) -> dict[str, str]:
    """Makes the server ready and returns a URL for each role that logs in, by the role's name.

    ``passwords`` holds those of a former run; a role without one gets a new password.

    Raises:
        OpenDatabases: REFUSE was asked for, and there are such databases; nothing is changed.
    """
    credentials = {
        role: Credentials.of_password(passwords[role])
        if role in passwords
        else Credentials.generate()
        for role in _login_roles(installation)
    }
    with psycopg.connect(admin_url, autocommit=True, dbname="postgres") as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (lock_key("bootstrap"),))
        _close_foreign_databases(connection, installation, main_database, foreign_databases)
        for name in _MAINTENANCE:
            _revoke_public(connection, name)
        _create_roles(connection, installation, credentials)
        _create_main_database(connection, admin_url, installation, main_database)
        _create_base_template(connection, admin_url, installation)
    databases = dict.fromkeys(credentials, main_database) | {installation.provisioner: "postgres"}
    return {
        role: _url(admin_url, role, login.password, databases[role])
        for role, login in credentials.items()
    }


def _login_roles(installation: Installation) -> dict[str, str]:
    """Each login role and its attributes."""
    return {
        installation.main_owner: "",
        installation.app: "",
        installation.platform: "",
        installation.provisioner: "CREATEDB CREATEROLE",
    }


def _close_foreign_databases(
    connection: Connection,
    installation: Installation,
    main_database: str,
    policy: ForeignDatabases,
) -> None:
    rows = connection.execute(
        """
        SELECT datname FROM pg_database
        WHERE datallowconn AND datname <> ALL(%s)
          AND has_database_privilege('public', oid, 'CONNECT, TEMP')
        ORDER BY datname
        """,
        ([*_MAINTENANCE, main_database, installation.base_template],),
    ).fetchall()
    names = [name for (name,) in rows]
    if names and policy is ForeignDatabases.REFUSE:
        raise OpenDatabases(names)
    if policy is ForeignDatabases.REVOKE:
        for name in names:
            _revoke_public(connection, name)


def _revoke_public(connection: Connection, database: str) -> None:
    connection.execute(statement("REVOKE ALL ON DATABASE {name} FROM PUBLIC", name=database))


def _create_roles(
    connection: Connection, installation: Installation, credentials: Mapping[str, Credentials]
) -> None:
    for role in (
        installation.schema_owner,
        installation.tenant_rw,
        installation.tenant_ro,
    ):
        if not _role_exists(connection, role):
            connection.execute(statement("CREATE ROLE {role} NOLOGIN", role=role))
    for role, attributes in _login_roles(installation).items():
        verb = "ALTER" if _role_exists(connection, role) else "CREATE"
        connection.execute(
            sql.SQL(f"{verb} ROLE {{role}} LOGIN {attributes} PASSWORD {{verifier}}").format(
                role=sql.Identifier(role), verifier=sql.Literal(credentials[role].verifier)
            )
        )
    for grant in (
        "GRANT {schema_owner} TO {provisioner}",
        "GRANT {tenant_rw} TO {provisioner} WITH ADMIN OPTION",
        "GRANT {tenant_ro} TO {provisioner} WITH ADMIN OPTION",
        # DROP DATABASE … WITH (FORCE) ends a tenant's sessions.
        "GRANT pg_signal_backend TO {provisioner}",
        "GRANT CONNECT ON DATABASE postgres TO {provisioner}",
    ):
        connection.execute(_with_roles(grant, installation))


def _create_main_database(
    connection: Connection, admin_url: str, installation: Installation, name: str
) -> None:
    if not database_exists(connection, name):
        connection.execute(
            statement(
                "CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' OWNER {owner}",
                name=name,
                owner=installation.main_owner,
            )
        )
    _revoke_public(connection, name)
    for role in (installation.app, installation.platform):
        connection.execute(
            statement("GRANT CONNECT ON DATABASE {name} TO {role}", name=name, role=role)
        )
    with _inside(admin_url, name) as inside:
        for text in (
            "ALTER SCHEMA public OWNER TO {main_owner}",
            "REVOKE ALL ON SCHEMA public FROM PUBLIC",
            "GRANT USAGE ON SCHEMA public TO {app}, {platform}",
            (
                "ALTER DEFAULT PRIVILEGES FOR ROLE {main_owner} IN SCHEMA public"
                " GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {app}, {platform}"
            ),
            (
                "ALTER DEFAULT PRIVILEGES FOR ROLE {main_owner}"
                " REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC"
            ),
        ):
            inside.execute(_with_roles(text, installation))


def _create_base_template(
    connection: Connection, admin_url: str, installation: Installation
) -> None:
    """The empty database that schema templates are cloned from, hardened by the superuser."""
    name = installation.base_template
    if not database_exists(connection, name):
        connection.execute(
            statement(
                "CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' OWNER {owner}",
                name=name,
                owner=installation.schema_owner,
            )
        )
    _revoke_public(connection, name)
    connection.execute(statement("ALTER DATABASE {name} ALLOW_CONNECTIONS true", name=name))
    with _inside(admin_url, name) as inside:
        for (signature,) in inside.execute(_LARGE_OBJECTS).fetchall():
            inside.execute(sql.SQL(f"REVOKE EXECUTE ON FUNCTION {signature} FROM PUBLIC"))
        for (language,) in inside.execute(_LANGUAGES).fetchall():
            names = {"language": language, "owner": installation.schema_owner}
            inside.execute(statement("REVOKE USAGE ON LANGUAGE {language} FROM PUBLIC", **names))
            inside.execute(statement("GRANT USAGE ON LANGUAGE {language} TO {owner}", **names))
    connection.execute(
        statement("ALTER DATABASE {name} IS_TEMPLATE true ALLOW_CONNECTIONS false", name=name)
    )


@contextmanager
def _inside(admin_url: str, database: str) -> Iterator[Connection]:
    with psycopg.connect(admin_url, dbname=database) as connection:
        yield connection


def _with_roles(text: str, installation: Installation) -> sql.Composed:
    return statement(
        text,
        main_owner=installation.main_owner,
        app=installation.app,
        platform=installation.platform,
        provisioner=installation.provisioner,
        schema_owner=installation.schema_owner,
        tenant_rw=installation.tenant_rw,
        tenant_ro=installation.tenant_ro,
    )


def _role_exists(connection: Connection, role: str) -> bool:
    found = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone()
    return found is not None


def _url(admin_url: str, role: str, password: str, database: str) -> str:
    """A libpq URI for the role on the administrator's server."""
    given: dict[str, Any] = conninfo_to_dict(admin_url)
    rest = {key: given[key] for key in given if key not in {"user", "password", "dbname"}}
    address = ""
    if not str(rest.get("host", "/")).startswith("/"):
        address = f"{rest.pop('host')}:{rest.pop('port', 5432)}"
    url = f"postgresql://{quote(role)}:{quote(password)}@{address}/{quote(database)}"
    return f"{url}?{urlencode(rest)}" if rest else url
