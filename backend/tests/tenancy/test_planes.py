"""Two planes of tables: neither's session takes the other's, neither's migrations know them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask_migrate import downgrade, upgrade
from sqlalchemy import (
    Column,
    Connection,
    MetaData,
    Table,
    Uuid,
    create_engine,
    delete,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.orm import Session, aliased
from sqlalchemy.pool import NullPool

from app.core import ids
from app.core.db import MIGRATIONS, MainModel, WrongPlane, main_session
from app.domains.documents.models import Document, File
from app.domains.identity.models import User, UserSession
from app.domains.tenants.models import Tenant, TenantDatabase, UserTenantAssociation
from app.tenancy import migrations
from app.tenancy.locations import TenantLocation
from app.tenancy.migrations import tree
from app.tenancy.models import TenantModel
from tests.tenancy.laboratory import Laboratory, laboratory

Use = Callable[[Session], object]


def uses_of(model: Any) -> dict[str, Use]:
    """Every way to reach a table through a session, by name."""
    table = model.__table__

    def add_and_flush(session: Session) -> None:
        session.add(model(id=ids.new_id()))
        session.flush()

    return {
        "ORM select": lambda session: session.scalars(select(model)).all(),
        "select of a column": lambda session: session.scalars(select(model.id)).all(),
        "select of an alias": lambda session: session.scalars(select(aliased(model))).all(),
        "get": lambda session: session.get(model, ids.new_id()),
        "query": lambda session: session.query(model).all(),
        "add and flush": add_and_flush,
        "ORM insert": lambda session: session.execute(insert(model).values(id=ids.new_id())),
        "ORM update": lambda session: session.execute(update(model).values(id=ids.new_id())),
        "ORM delete": lambda session: session.execute(delete(model)),
        "bulk insert": lambda session: session.execute(insert(model), [{"id": ids.new_id()}]),
        "Core select": lambda session: session.execute(select(table)),
        "Core select in a subquery": lambda session: session.execute(
            select(select(table.c.id).subquery())
        ),
        "Core select in a CTE": lambda session: session.execute(
            select(select(table.c.id).cte("hidden"))
        ),
        "Core insert": lambda session: session.execute(table.insert().values(id=ids.new_id())),
        "Core update": lambda session: session.execute(table.update().values(id=ids.new_id())),
        "Core delete": lambda session: session.execute(table.delete()),
    }


@pytest.mark.parametrize("use", uses_of(Document))
def test_a_tenants_table_is_refused_by_a_main_session(house: Laboratory, use: str) -> None:
    with house.app.app_context(), pytest.raises(WrongPlane), main_session() as session:
        uses_of(Document)[use](session)


@pytest.mark.parametrize("use", uses_of(Tenant))
def test_a_main_table_is_refused_by_a_tenants_session(
    house: Laboratory, acme: TenantLocation, use: str
) -> None:
    with pytest.raises(WrongPlane), house.manager.tenant_db_session(acme) as session:
        uses_of(Tenant)[use](session)


@pytest.mark.parametrize(
    "mixture",
    [
        select(Tenant, Document.name).where(Document.owner_id == Tenant.id),
        select(Tenant).join(Document, Document.owner_id == Tenant.id),
        select(Tenant).where(select(Document.id).exists()),
        update(Tenant).values(name=select(Document.name).scalar_subquery()),
        insert(Tenant).from_select(["name"], select(Document.name)),
    ],
    ids=lambda statement: str(statement)[:20],
)
def test_a_mixture_of_planes_is_refused(house: Laboratory, mixture: Any) -> None:
    with house.app.app_context(), pytest.raises(WrongPlane), main_session() as session:
        session.execute(mixture)


def test_no_table_stands_in_both_planes() -> None:
    """So that the server refuses a mistake in plain SQL, which no session can read."""
    assert not set(MainModel.metadata.tables) & set(TenantModel.metadata.tables)


def test_no_foreign_key_points_across() -> None:
    for metadata in (MainModel.metadata, TenantModel.metadata):
        for table in metadata.tables.values():
            assert {key.column.table.metadata for key in table.foreign_keys} <= {metadata}


def in_env(
    lab: Laboratory,
    tree: str,
    attributes: dict[str, Any],
    look: Callable[[MigrationContext], object],
) -> Any:
    """What ``look`` finds in the context that the tree's own env.py configures."""
    config = Config(attributes=attributes)
    config.set_main_option("script_location", str(MIGRATIONS / tree))
    found = []

    def capture(_revision: Any, context: MigrationContext) -> list[Any]:
        found.append(look(context))
        return []

    script = ScriptDirectory.from_config(config)
    with lab.app.app_context(), EnvironmentContext(config, script, fn=capture):
        script.run_env()
    return found[0]


def as_owner(lab: Laboratory, location: TenantLocation) -> Any:
    url = lab.manager.server.owner_url(location.database)
    return create_engine(
        "postgresql+psycopg://", poolclass=NullPool, creator=lambda: psycopg.connect(url)
    )


@pytest.fixture(scope="module")
def scratch(lab: Laboratory) -> TenantLocation:
    return lab.new_database("scratch")


def test_the_main_tree_yields_no_change(lab: Laboratory) -> None:
    """`flask db migrate` would write an empty migration."""
    assert in_env(lab, "main", {}, lambda it: compare_metadata(it, MainModel.metadata)) == []


def test_the_main_tree_never_yields_a_tenants_table(lab: Laboratory) -> None:
    """Not even where the tenants' metadata and a table of theirs lie before it."""
    both: Any = [MainModel.metadata, TenantModel.metadata]
    assert in_env(lab, "main", {}, lambda it: compare_metadata(it, both)) == []
    with main_owner(lab).begin() as connection:
        connection.execute(text("CREATE TABLE documents (id uuid PRIMARY KEY, stray text)"))
    try:
        assert in_env(lab, "main", {}, lambda it: compare_metadata(it, MainModel.metadata)) == []
    finally:
        with main_owner(lab).begin() as connection:
            connection.execute(text("DROP TABLE documents"))


def test_the_main_tree_does_see_what_is_new(lab: Laboratory) -> None:
    """The negative control of the two above."""
    grown = MetaData(naming_convention=MainModel.metadata.naming_convention)
    for table in MainModel.metadata.tables.values():
        table.to_metadata(grown)
    Table("invoices", grown, Column("id", Uuid, primary_key=True))
    [change] = in_env(lab, "main", {}, lambda it: compare_metadata(it, grown))[:1]
    assert (change[0], change[1].name) == ("add_table", "invoices")


def main_owner(lab: Laboratory) -> Any:
    return create_engine(lab.app.config["MAIN_OWNER_URL"], poolclass=NullPool)


def tenant_changes(lab: Laboratory, location: TenantLocation, metadata: MetaData) -> Any:
    with as_owner(lab, location).begin() as connection:
        attributes = {"connection": connection, "installation": lab.installation}
        return in_env(lab, "tenant", attributes, lambda it: compare_metadata(it, metadata))


def test_a_tenants_database_has_not_drifted(lab: Laboratory, scratch: TenantLocation) -> None:
    assert tenant_changes(lab, scratch, TenantModel.metadata) == []


def test_drift_in_a_tenants_database_is_seen(lab: Laboratory) -> None:
    """The negative control."""
    drifted = lab.new_database("drifted")
    with as_owner(lab, drifted).begin() as connection:
        connection.execute(text("ALTER TABLE documents ADD COLUMN stray text"))
    [change] = tenant_changes(lab, drifted, TenantModel.metadata)
    assert (change[0], change[3].name) == ("remove_column", "stray")


@pytest.mark.parametrize("tree", ["main", "tenant"])
def test_each_tree_has_one_head(tree: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS / tree))
    assert len(ScriptDirectory.from_config(config).get_heads()) == 1


def revision_of(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def test_a_tenants_migrations_go_down_to_the_base_and_up_again(
    lab: Laboratory, scratch: TenantLocation
) -> None:
    assert migrations.head() in migrations.supported()
    with as_owner(lab, scratch).begin() as connection:
        config = tree.current().config
        config.attributes.update(connection=connection, installation=lab.installation)
        command.downgrade(config, "base")
        assert revision_of(connection) is None
    assert lab.manager.migrate_tenant_database(scratch) == migrations.head()
    assert tenant_changes(lab, scratch, TenantModel.metadata) == []
    # The grants came back with the tables: they are the template's default privileges.
    with lab.manager.tenant_db_session(scratch) as session:
        assert session.scalars(select(Document)).all() == []


def test_the_main_migrations_go_down_to_the_base_and_up_again(
    server_urls: dict[str, str], tmp_path: Path
) -> None:
    """In an installation of its own: the people and keys of the others' would be gone."""
    with laboratory(server_urls, tmp_path) as lab:
        with lab.app.app_context():
            downgrade(revision="base")
            with main_owner(lab).connect() as connection:
                assert revision_of(connection) is None
            upgrade()
        assert in_env(lab, "main", {}, lambda it: compare_metadata(it, MainModel.metadata)) == []


def test_the_shell_knows_every_model(house: Laboratory) -> None:
    with house.app.app_context():
        known = house.app.make_shell_context()
    every = {mapper.class_ for base in (MainModel, TenantModel) for mapper in base.registry.mappers}
    assert every >= {
        Document,
        File,
        User,
        UserSession,
        Tenant,
        TenantDatabase,
        UserTenantAssociation,
    }
    assert every <= set(map(_hashable, known.values()))
    assert {"main_session", "platform_session", "manager", "db"} <= set(known)


def _hashable(value: object) -> object:
    return value if isinstance(value, type) else type(value)
