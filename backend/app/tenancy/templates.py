"""One template database per schema revision: tenants are born as clones of it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import psycopg
from psycopg import sql

from app.core import ids
from app.tenancy import migrations
from app.tenancy.migrations import applying, tree
from app.tenancy.migrations.rendering import Recipe
from app.tenancy.names import read_comment
from app.tenancy.server import (
    AlreadyClaimed,
    Connection,
    Server,
    comment_of,
    database_exists,
    statement,
)

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

# What a tenant's role could not use, or nobody could: an index that was left half made.
_UNUSABLE: Final = """
    SELECT 'table ' || c.relname FROM pg_class c
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
      AND c.relname <> 'alembic_version'
      AND (pg_get_userbyid(c.relowner) <> %(owner)s
           OR NOT has_table_privilege(%(group)s, c.oid, 'SELECT'))
    UNION ALL
    SELECT 'index ' || indexrelid::regclass FROM pg_index WHERE NOT indisvalid
"""


class TemplateBroken(RuntimeError):
    """The migrations make a template that tenants could not use; nothing was migrated."""


def ensure(server: Server) -> str:
    """The name of the template at the newest revision, built first where it is missing.

    A template whose migrations' text has changed since (development) is built anew.

    Raises:
        MigrationFailed, TemplateBroken: the migrations do not make a usable schema.
    """
    installation = server.installation
    name = installation.template(migrations.head())
    with server.locked(installation.id, "template") as connection:
        mark = installation.comment("template", digest=migrations.digest())
        if read_comment(comment_of(connection, name)) != json.loads(mark):
            draft = installation.template("draft")
            build(server, connection, draft, migrations.head())
            _finish(connection, draft, mark)
            # Named when it is finished: no tenant is ever cloned from a part of it.
            discard(connection, name)
            connection.execute(
                statement("ALTER DATABASE {draft} RENAME TO {name}", draft=draft, name=name)
            )
    return name


@contextmanager
def scratch(server: Server, revision: str | None) -> Iterator[str]:
    """An empty tenant's database at the revision, to look at or to try on; dropped at the end."""
    name = server.installation.scratch(ids.new_id())
    with server.claimed(name) as connection:
        try:
            build(server, connection, name, revision)
            yield name
        finally:
            discard(connection, name)


def discard_scratch(server: Server) -> None:
    """Drops the scratch databases that killed processes left; those in use are claimed."""
    with server.connect_as_provisioner() as connection:
        rows = connection.execute(
            "SELECT datname FROM pg_database WHERE pg_get_userbyid(datdba) = %s",
            (server.installation.schema_owner,),
        ).fetchall()
    for (name,) in rows:
        if server.installation.is_scratch(name):
            with suppress(AlreadyClaimed), server.claimed(name) as connection:
                discard(connection, name)


def build(server: Server, connection: Connection, name: str, revision: str | None) -> None:
    """An empty database at the revision, whatever was there before; None leaves it without tables.

    Raises:
        MigrationFailed, TemplateBroken: as `ensure`.
    """
    installation = server.installation
    discard(connection, name)
    connection.execute(
        statement(
            "CREATE DATABASE {name} TEMPLATE {base} OWNER {owner} ALLOW_CONNECTIONS false",
            name=name,
            base=installation.base_template,
            owner=installation.schema_owner,
        )
    )
    connection.execute(statement("REVOKE ALL ON DATABASE {name} FROM PUBLIC", name=name))
    connection.execute(statement("ALTER DATABASE {name} ALLOW_CONNECTIONS true", name=name))
    _run_as_owner(server, name, _BEFORE)
    if revision is not None:
        recipe = Recipe(tree.current(), installation, revision)
        applying.migrate(server, name, recipe, applying.Patience())
        _run_as_owner(server, name, _AFTER)
        _verify(server, name, revision)


def _finish(connection: Connection, name: str, mark: str) -> None:
    connection.execute(
        sql.SQL("COMMENT ON DATABASE {name} IS {mark}").format(
            name=sql.Identifier(name), mark=sql.Literal(mark)
        )
    )
    # Nobody may attach to a template: a session on it makes every clone wait and fail.
    connection.execute(
        statement("ALTER DATABASE {name} IS_TEMPLATE true ALLOW_CONNECTIONS false", name=name)
    )


def _verify(server: Server, name: str, revision: str) -> None:
    names = {"owner": server.installation.schema_owner, "group": server.installation.tenant_rw}
    with server.connect_as_owner(name) as connection:
        version = applying.read_version(connection)
        unusable = [what for (what,) in connection.execute(_UNUSABLE, names).fetchall()]
    if version != revision:
        raise TemplateBroken(f"the template is at {version} instead of {revision}")
    if unusable:
        raise TemplateBroken(f"a tenant could not use {', '.join(unusable)}")


def _run_as_owner(server: Server, name: str, statements: tuple[str, ...]) -> None:
    with psycopg.connect(server.owner_url(name)) as connection:
        for text in statements:
            connection.execute(statement(text, tenant_rw=server.installation.tenant_rw))


def discard(connection: Connection, name: str) -> None:
    if database_exists(connection, name):
        connection.execute(statement("ALTER DATABASE {name} IS_TEMPLATE false", name=name))
        connection.execute(statement("DROP DATABASE {name} WITH (FORCE)", name=name))
