"""Template databases: finished or not there, the newest text of the migrations, nobody inside."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import text

from app.core import ids
from app.core.db import MIGRATIONS
from app.tenancy import migrations, templates
from app.tenancy.locations import TenantLocation
from app.tenancy.migrations.tree import Tree
from tests.tenancy.laboratory import PATIENCE_SECONDS, Laboratory, laboratory, until
from tests.tenancy.processes import Understudy, understudy


@pytest.fixture(scope="module")
def lab(
    server_urls: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Laboratory]:
    """An installation whose templates no other test needs meanwhile."""
    with laboratory(server_urls, tmp_path_factory.mktemp("templates")) as made:
        yield made


@pytest.fixture(scope="module")
def doomed(lab: Laboratory) -> Iterator[Understudy]:
    with understudy(lab) as process:
        yield process


def template(lab: Laboratory) -> str:
    return lab.installation.template(migrations.head())


def oid(lab: Laboratory) -> int | None:
    """The template's identity: another one where it was built anew."""
    with lab.as_superuser() as superuser:
        row = superuser.execute(
            "SELECT oid::bigint FROM pg_database WHERE datname = %s", (template(lab),)
        ).fetchone()
    return None if row is None else int(row[0])


def alter(lab: Laboratory, *statements: str) -> None:
    with lab.as_superuser() as superuser:
        for statement in statements:
            superuser.execute(statement.encode())


def mark(lab: Laboratory, comment: str | None) -> None:
    with lab.as_superuser() as superuser:
        superuser.execute(
            sql.SQL("COMMENT ON DATABASE {name} IS {comment}").format(
                name=sql.Identifier(template(lab)), comment=sql.Literal(comment)
            )
        )


def drop(lab: Laboratory) -> None:
    name = template(lab)
    if oid(lab) is not None:
        alter(lab, f"ALTER DATABASE {name} IS_TEMPLATE false", f"DROP DATABASE {name}")


def serves(lab: Laboratory, tenant: TenantLocation) -> bool:
    """It has its tables, and its role may use them."""
    with lab.manager.tenant_db_session(tenant) as session:
        found = session.scalar(text("SELECT count(*) FROM documents JOIN files ON true"))
    return bool(found == 0)


def template_databases(lab: Laboratory) -> set[str]:
    with lab.as_superuser() as superuser:
        rows = superuser.execute(
            "SELECT datname FROM pg_database WHERE datname LIKE %s",
            (f"{lab.installation.id}\\_tpl\\_%",),
        ).fetchall()
    return {name for (name,) in rows}


def test_it_is_built_once(lab: Laboratory) -> None:
    before = oid(lab)
    assert templates.ensure(lab.manager.server) == template(lab)
    assert oid(lab) == before is not None


def test_nobody_enters_it(lab: Laboratory) -> None:
    with pytest.raises(psycopg.OperationalError, match="not currently accepting connections"):
        lab.as_superuser(template(lab))
    with lab.as_superuser() as superuser:
        state = superuser.execute(
            "SELECT datistemplate, datallowconn FROM pg_database WHERE datname = %s",
            (template(lab),),
        ).fetchone()
    assert state == (True, False)


def test_it_is_built_anew_when_a_migrations_text_has_changed(lab: Laboratory) -> None:
    before = oid(lab)
    mark(lab, lab.installation.comment("template", digest="that of another text"))
    templates.ensure(lab.manager.server)
    assert oid(lab) not in {before, None}
    assert serves(lab, lab.new_database())


def test_any_change_of_a_migrations_text_is_one(tmp_path: Path) -> None:
    folder = tmp_path / "tenant"
    shutil.copytree(MIGRATIONS / "tenant", folder)
    assert Tree(folder).digest == migrations.digest()
    first = next(folder.glob("versions/0001*.py"))
    first.write_text(first.read_text() + "\n")
    assert Tree(folder).digest != migrations.digest()


def test_one_without_its_mark_is_not_trusted(lab: Laboratory) -> None:
    before = oid(lab)
    mark(lab, None)
    templates.ensure(lab.manager.server)
    assert oid(lab) not in {before, None}


def test_a_tenant_is_made_where_there_is_no_template_yet(lab: Laboratory) -> None:
    drop(lab)
    assert serves(lab, lab.new_database())
    assert oid(lab) is not None


def test_many_who_miss_it_build_it_once(lab: Laboratory) -> None:
    drop(lab)
    with ThreadPoolExecutor(6) as pool:
        made = [pool.submit(lab.new_database) for _ in range(6)]
        assert all(serves(lab, each.result(PATIENCE_SECONDS)) for each in made)
    assert template_databases(lab) == {template(lab)}


def test_one_whose_building_was_killed_is_never_cloned(lab: Laboratory, doomed: Understudy) -> None:
    """Kill -9 all along: under a template's name stands a finished one or none."""
    drop(lab)
    for step in count(1, 3):
        if not doomed.dies("build_template", at=step):
            break
        assert oid(lab) is None or step > 15
    assert step > 15
    for last in range(step - 3, step):
        drop(lab)
        doomed.dies("build_template", at=last)
        assert serves(lab, lab.new_database()), f"killed at step {last}"
    drop(lab)
    assert doomed.dies("build_template", at=step // 2)
    assert template_databases(lab) - {template(lab)}, "half of one lies about"
    assert serves(lab, lab.new_database())
    assert template_databases(lab) == {template(lab)}


def test_a_session_on_it_makes_the_clone_wait_and_not_fail(lab: Laboratory) -> None:
    """The server itself waits five seconds before it says 55006."""
    alter(lab, f"ALTER DATABASE {template(lab)} ALLOW_CONNECTIONS true")
    tenant = lab.manager.new_location(ids.new_id(), "late")
    with lab.as_superuser() as superuser, ThreadPoolExecutor(1) as pool:
        tries: set[object] = set()

        def tried_again() -> bool:
            tries.update(
                superuser.execute(
                    "SELECT query_start FROM pg_stat_activity WHERE query LIKE %s",
                    (f'CREATE DATABASE "{tenant.database}"%',),
                ).fetchall()
            )
            return len(tries) > 1

        with lab.as_superuser(template(lab)):
            made = pool.submit(lab.manager.provision, tenant)
            until(tried_again, "the clone to be tried again")
        assert made.result(PATIENCE_SECONDS) == migrations.head()
    alter(lab, f"ALTER DATABASE {template(lab)} ALLOW_CONNECTIONS false")
    assert serves(lab, tenant)
