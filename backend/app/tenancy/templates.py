"""One template database per schema revision: tenants are born as clones of it."""

import json
from typing import Final

import psycopg
from psycopg import sql

from app.tenancy import migrations
from app.tenancy.migrations import applying, tree
from app.tenancy.migrations.rendering import Recipe
from app.tenancy.names import read_comment
from app.tenancy.server import Connection, Server, comment_of, database_exists, statement

# Run in a new template as the schema's owner, before and after the migrations.
_BEFORE: Final = (
    "REVOKE ALL ON SCHEMA public FROM PUBLIC",
    "GRANT USAGE ON SCHEMA public TO {tenant_rw}",
    (
        "ALTER DEFAULT PRIVILEGES IN SCHEMA public"
        " GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {tenant_rw}"
    ),
    "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE ON SEQUENCES TO {tenant_rw}",
    "ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC",
)
_AFTER: Final = ("REVOKE ALL ON TABLE alembic_version FROM {tenant_rw}",)


def ensure(server: Server) -> str:
    """The name of the template at the newest revision, built first where it is missing.

    A template whose migrations' text has changed since (development) is built anew.
    """
    installation = server.installation
    name = installation.template(migrations.head())
    with server.locked(installation.id, "template") as connection:
        mark = installation.comment("template", digest=migrations.digest())
        if read_comment(comment_of(connection, name)) != json.loads(mark):
            _build(server, connection, draft := installation.template("draft"), mark)
            # Named when it is finished: no tenant is ever cloned from a part of it.
            _discard(connection, name)
            connection.execute(
                statement("ALTER DATABASE {draft} RENAME TO {name}", draft=draft, name=name)
            )
    return name


def _build(server: Server, connection: Connection, name: str, mark: str) -> None:
    installation = server.installation
    _discard(connection, name)
    connection.execute(
        statement(
            "CREATE DATABASE {name} TEMPLATE {base} OWNER {owner}",
            name=name,
            base=installation.base_template,
            owner=installation.schema_owner,
        )
    )
    connection.execute(statement("REVOKE ALL ON DATABASE {name} FROM PUBLIC", name=name))
    _run_as_owner(server, name, _BEFORE)
    recipe = Recipe(tree.current(), installation, migrations.head())
    applying.migrate(server, name, recipe, applying.Patience())
    _run_as_owner(server, name, _AFTER)
    connection.execute(
        sql.SQL("COMMENT ON DATABASE {name} IS {mark}").format(
            name=sql.Identifier(name), mark=sql.Literal(mark)
        )
    )
    # Nobody may attach to a template: a session on it makes every clone wait and fail.
    connection.execute(
        statement("ALTER DATABASE {name} IS_TEMPLATE true ALLOW_CONNECTIONS false", name=name)
    )


def _run_as_owner(server: Server, name: str, statements: tuple[str, ...]) -> None:
    with psycopg.connect(server.owner_url(name)) as connection:
        for text in statements:
            connection.execute(statement(text, tenant_rw=server.installation.tenant_rw))


def _discard(connection: Connection, name: str) -> None:
    if database_exists(connection, name):
        connection.execute(statement("ALTER DATABASE {name} IS_TEMPLATE false", name=name))
        connection.execute(statement("DROP DATABASE {name} WITH (FORCE)", name=name))
