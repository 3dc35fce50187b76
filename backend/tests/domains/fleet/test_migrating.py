"""Migrating a fleet: everybody, in waves, one failure stopping nobody else, all of it on record."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import text

from app.core import ids
from app.core.db import platform_session
from app.domains.fleet.errors import BadOrder, NothingToResume, RunInProgress
from app.domains.fleet.models import MigrationResult, RunStatus
from app.domains.fleet.service import history, planning, running
from app.domains.fleet.service.planning import Order
from app.domains.tenants.models import TenantState
from app.domains.tenants.service import lifecycle
from app.domains.tenants.service.ledger import FleetEntry
from app.tenancy import migrations, templates
from app.tenancy.inspection.catalog import fingerprint, read_catalog
from app.tenancy.migrations import applying
from tests.cast import Person
from tests.domains.fleet.conftest import Release, entries, migrate, new_fleet, revisions
from tests.domains.fleet.trees import HEAD, Migration, after, column
from tests.domains.tenants.ledger import set_state
from tests.tenancy.laboratory import Laboratory, until

Fleet = list[FleetEntry]


def on(lab: Laboratory, entry: FleetEntry, statement: str) -> list[tuple[object, ...]]:
    with lab.manager.server.connect_as_owner(entry.location.database) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def version(lab: Laboratory, entry: FleetEntry) -> str | None:
    with lab.manager.server.connect_as_owner(entry.location.database) as connection:
        return applying.read_version(connection)


def print_of(lab: Laboratory, database: str) -> str:
    with lab.manager.server.connect_as_owner(database) as connection:
        return fingerprint(read_catalog(connection))


def fresh_print(lab: Laboratory) -> str:
    with templates.scratch(lab.manager.server, migrations.head()) as name:
        return print_of(lab, name)


@contextmanager
def counted(lab: Laboratory) -> Iterator[list[str]]:
    """The names of the databases that the migrator connects to as their owner."""
    opened: list[str] = []
    connect = lab.manager.server.connect_as_owner
    with pytest.MonkeyPatch.context() as patch:

        def counting(database: str, **more: int) -> object:
            opened.append(database)
            return connect(database, **more)

        patch.setattr(lab.manager.server, "connect_as_owner", counting)
        yield opened


def test_everybody_is_brought_to_the_head(lab: Laboratory, fleet: Fleet, release: Release) -> None:
    tree = release(column("colour"), column("shape"))
    ended = migrate(lab)
    assert ended.status is RunStatus.SUCCEEDED
    assert ended.counts["succeeded"] == len(fleet)
    assert revisions() == {tree.head} == {after(2)}
    expected = fresh_print(lab)
    assert all(print_of(lab, each.location.database) == expected for each in fleet)
    with lab.manager.tenant_db_session(fleet[0].location) as session:
        assert (
            session.connection().exec_driver_sql("SELECT colour, shape FROM documents").all() == []
        )


def test_the_end_of_a_run_is_in_the_audit_trail(
    lab: Laboratory, fleet: Fleet, release: Release
) -> None:
    release(column("colour"))
    ended = migrate(lab)
    with platform_session() as session:
        [(kind, details)] = session.execute(
            text("SELECT type, details FROM platform_audit_entries WHERE target = :id"),
            {"id": str(ended.run_id)},
        )
    assert kind == "fleet.migration_ended"
    assert (details["status"], details["succeeded"]) == ("succeeded", len(fleet))


def test_with_nothing_to_do_no_tenant_is_connected_to(
    lab: Laboratory, fleet: Fleet, release: Release
) -> None:
    release(column("colour"))
    with counted(lab) as opened:
        migrate(lab)
    assert set(opened) >= {each.location.database for each in fleet}
    with counted(lab) as opened:
        ended = migrate(lab)
    assert opened == []
    assert (ended.run_id, ended.at_target) == (None, len(fleet))


def test_one_failure_stops_nobody_else(lab: Laboratory, fleet: Fleet, release: Release) -> None:
    release(column("colour"))
    bad = fleet[2]
    on(lab, bad, "ALTER TABLE documents ADD COLUMN colour int")
    ended = migrate(lab, jobs=2)
    assert ended.status is RunStatus.FAILED
    assert (ended.counts["succeeded"], ended.counts["failed"]) == (4, 1)
    assert {each.revision for each in entries() if each.tenant_id != bad.tenant_id} == {after(1)}
    assert version(lab, bad) == HEAD
    [record] = [each for each in results(ended.run_id) if each.status == "failed"]
    assert record.tenant_id == bad.tenant_id
    assert record.error is not None
    assert 'column "colour" of relation "documents" already exists' in record.error
    on(lab, bad, "ALTER TABLE documents DROP COLUMN colour")
    again = running.resume(lab.manager, tell=lambda _: None)
    assert again.run_id == ended.run_id
    assert again.status is RunStatus.SUCCEEDED
    assert revisions() == {after(1)}
    with pytest.raises(NothingToResume):
        running.resume(lab.manager, tell=lambda _: None)


def results(run_id: UUID | None) -> list[MigrationResult]:
    assert run_id is not None
    with platform_session() as session:
        return list(history.one(session, run_id).results)


def test_it_stops_when_its_failures_are_spent(
    lab: Laboratory, fleet: Fleet, release: Release
) -> None:
    release(column("colour"))
    for each in fleet:
        on(lab, each, "ALTER TABLE documents ADD COLUMN colour int")
    ended = migrate(lab, jobs=1, max_failures=1)
    assert ended.status is RunStatus.STOPPED
    assert (ended.counts["failed"], ended.counts["pending"]) == (2, 3)


def test_a_failing_canary_saves_the_others(lab: Laboratory, fleet: Fleet, release: Release) -> None:
    release(column("colour"))
    bird = fleet[3]
    on(lab, bird, "ALTER TABLE documents ADD COLUMN colour int")
    ended = migrate(lab, waves=("canary", "20%", "rest"), canaries=(bird.slug,), max_failures=9)
    assert ended.status is RunStatus.STOPPED
    assert (ended.counts["failed"], ended.counts["pending"]) == (1, 4)
    assert {each.revision for each in entries()} == {HEAD}


def test_a_failed_tenant_with_steps_behind_it_is_known_to_be_there(
    lab: Laboratory, fleet: Fleet, release: Release
) -> None:
    """A step outside of transactions stays done; the ledger says what the version row says."""
    index = Migration(
        """
        op.create_index("ix_documents_shown_name", "documents", ["name"],
                        postgresql_concurrently=True, if_not_exists=True)
        """,
        attributes="autocommit = True",
    )
    release(index, column("colour"))
    on(lab, fleet[0], "ALTER TABLE documents ADD COLUMN colour int")
    migrate(lab)
    assert version(lab, fleet[0]) == after(1)
    assert {each.revision for each in entries()} == {after(1), after(2)}


def test_suspended_and_deleted_tenants_are_migrated_and_those_being_purged_are_not(
    lab: Laboratory, fleet: Fleet, release: Release
) -> None:
    release(column("colour"))
    lifecycle.suspend(lab.manager, tenant_id=fleet[0].tenant_id)
    set_state(fleet[1].tenant_id, TenantState.PURGING)
    set_state(fleet[2].tenant_id, TenantState.DELETED)
    try:
        ended = migrate(lab)
        assert ended.counts["succeeded"] == 4
        assert version(lab, fleet[0]) == after(1)
        assert version(lab, fleet[1]) == HEAD
        assert version(lab, fleet[2]) == after(1)
    finally:
        set_state(fleet[1].tenant_id, TenantState.ACTIVE)


def test_only_those_asked_for(lab: Laboratory, fleet: Fleet, release: Release) -> None:
    release(column("colour"))
    chosen = fleet[1].tenant_id
    ended = migrate(lab, tenant_ids=(chosen,))
    assert ended.counts["succeeded"] == 1
    assert {each.tenant_id for each in entries() if each.revision == after(1)} == {chosen}
    with pytest.raises(BadOrder):
        migrate(lab, tenant_ids=(chosen, ids.new_id()))


def test_down_again(lab: Laboratory, fleet: Fleet, release: Release) -> None:
    release(column("colour"), column("shape"))
    before = {each.tenant_id: print_of(lab, each.location.database) for each in fleet}
    migrate(lab)
    ended = migrate(lab, downgrade_to=HEAD)
    assert ended.status is RunStatus.SUCCEEDED
    assert revisions() == {HEAD}
    assert {each.tenant_id: print_of(lab, each.location.database) for each in fleet} == before
    with pytest.raises(BadOrder):
        migrate(lab, downgrade_to="0815")


def test_an_upgrade_never_goes_down(lab: Laboratory, fleet: Fleet, release: Release) -> None:
    """The ledger was restored, or is wrong, and the database is ahead of this code."""
    release(column("colour"), column("shape"))
    on(lab, fleet[0], "UPDATE alembic_version SET version_num = '0099'")
    ended = migrate(lab)
    [failed] = [each for each in results(ended.run_id) if each.status == "failed"]
    assert failed.error == "UnknownRevision: this code knows no schema revision '0099'"
    assert version(lab, fleet[0]) == "0099"
    on(lab, fleet[0], f"UPDATE alembic_version SET version_num = '{HEAD}'")


def test_the_version_row_is_the_truth(lab: Laboratory, fleet: Fleet, release: Release) -> None:
    """Killed between the tenant's commit and the ledger's: the next run sees and repairs it."""
    release(column("colour"))
    lab.manager.migrate_tenant_database(fleet[0].location)
    assert revisions() == {HEAD}
    ended = migrate(lab)
    [first] = [each for each in results(ended.run_id) if each.tenant_id == fleet[0].tenant_id]
    assert (first.status, first.source, first.target) == ("succeeded", after(1), after(1))
    assert revisions() == {after(1)}


def test_a_lock_is_waited_for_in_turns(lab: Laboratory, fleet: Fleet, release: Release) -> None:
    """It gives up after lock_timeout, so that others get through, and comes again."""
    release(column("colour"))
    with ThreadPoolExecutor(1) as pool, lab.as_superuser(fleet[0].location.database) as blocker:
        with blocker.transaction():
            blocker.execute("LOCK TABLE documents")
            ended = pool.submit(_migrate_in_thread, lab)
            until(lambda: _waits(lab, fleet[0]), "the migration to wait for the lock")
            until(lambda: _waits_no_more(lab, fleet[0]), "the migration to let others pass")
        assert ended.result(30).status is RunStatus.SUCCEEDED
    [record] = [
        each for each in results(ended.result().run_id) if each.tenant_id == fleet[0].tenant_id
    ]
    assert record.attempts > 1


def _migrate_in_thread(lab: Laboratory) -> running.Ended:
    with lab.app.app_context():
        return migrate(lab)


def _waits(lab: Laboratory, entry: FleetEntry) -> bool:
    with lab.as_superuser() as superuser:
        row = superuser.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'",
            (entry.location.database,),
        ).fetchone()
    return row != (0,)


def _waits_no_more(lab: Laboratory, entry: FleetEntry) -> bool:
    return not _waits(lab, entry)


def test_a_lock_that_is_never_let_go_fails_that_tenant_alone(
    lab: Laboratory, fleet: Fleet, release: Release
) -> None:
    release(column("colour"))
    with lab.as_superuser(fleet[0].location.database) as blocker, blocker.transaction():
        blocker.execute("LOCK TABLE documents")
        ended = migrate(lab)
    [failed] = [each for each in results(ended.run_id) if each.status == "failed"]
    assert (failed.tenant_id, failed.attempts) == (fleet[0].tenant_id, 4)
    assert failed.error == "LockNotAvailable: canceling statement due to lock timeout"


def test_a_second_run_is_refused(lab: Laboratory, fleet: Fleet, release: Release) -> None:
    release(column("colour"))
    with running.claimed(lab.manager), pytest.raises(RunInProgress):
        migrate(lab)
    assert migrate(lab).status is RunStatus.SUCCEEDED


def test_a_tenant_born_meanwhile_of_older_code_is_fetched(
    lab: Laboratory, fleet: Fleet, release: Release, alice: Person
) -> None:
    release(column("colour"))
    born: Fleet = []

    def bear(_: running.Progress) -> None:
        if not born:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(migrations.tree, "TENANT", OLD)
                born.extend(new_fleet(lab, alice, 1))

    ended = running.start(lab.manager, Order(), tell=bear)
    assert [each.revision for each in born] == [HEAD]
    assert ended.counts["succeeded"] == len(fleet) + 1
    assert revisions() == {after(1)}


OLD = migrations.tree.TENANT


def test_a_tenant_born_during_a_run_is_born_at_the_head(
    lab: Laboratory, fleet: Fleet, release: Release, alice: Person
) -> None:
    release(column("colour"))
    born: Fleet = []

    def bear(_: running.Progress) -> None:
        if not born:
            born.extend(new_fleet(lab, alice, 1))

    running.start(lab.manager, Order(), tell=bear)
    assert [each.revision for each in born] == [after(1)]


def test_migrations_that_fail_on_an_empty_database_touch_nobody(
    lab: Laboratory, fleet: Fleet, release: Release
) -> None:
    release(Migration('op.execute("ALTER TABLE nowhere ADD COLUMN a int")'))
    with counted(lab) as opened, pytest.raises(applying.MigrationFailed, match="nowhere"):
        migrate(lab)
    assert not set(opened) & {each.location.database for each in fleet}
    assert revisions() == {HEAD}


def test_a_table_that_a_tenant_could_not_use_is_refused_with_its_template(
    lab: Laboratory, fleet: Fleet, release: Release
) -> None:
    release(
        Migration(
            """
            op.execute("CREATE TABLE mine (id int)")
            op.execute(f"REVOKE ALL ON mine FROM {op.get_context().opts['installation'].tenant_rw}")
            """
        )
    )
    with pytest.raises(templates.TemplateBroken, match="could not use table mine"):
        migrate(lab)


def test_python_at_each_tenant(lab: Laboratory, fleet: Fleet, release: Release) -> None:
    """In the same transaction as the steps around it, and with what it finds there."""
    release(
        column("colour"),
        Migration(
            """
            found = op.get_bind().execute(sa.text("SELECT current_database()")).scalar()
            op.execute(f"COMMENT ON COLUMN documents.colour IS '100% {found}'")
            """,
            attributes="per_tenant = True",
        ),
        column("shape"),
    )
    on(lab, fleet[4], "ALTER TABLE documents ADD COLUMN shape int")
    migrate(lab)
    for each in fleet[:4]:
        [(comment,)] = on(
            lab,
            each,
            "SELECT col_description(attrelid, attnum) FROM pg_attribute"
            " WHERE attrelid = 'documents'::regclass AND attname = 'colour'",
        )
        assert comment == f"100% {each.location.database}"
    # All of it was undone where the last step failed.
    assert version(lab, fleet[4]) == HEAD
    assert on(lab, fleet[4], "SELECT 1 FROM pg_attribute WHERE attname = 'colour'") == []


CONCURRENTLY = Migration(
    """
    op.create_index("ix_documents_shown_name", "documents", ["name"],
                    postgresql_concurrently=True, if_not_exists=True)
    """,
    attributes="autocommit = True",
)


def test_an_interrupted_concurrent_index_is_made_anew(
    lab: Laboratory, fleet: Fleet, release: Release
) -> None:
    release(CONCURRENTLY)
    with (
        lab.as_superuser(fleet[0].location.database) as superuser,
        superuser.transaction(),
    ):
        superuser.execute("CREATE INDEX ix_documents_shown_name ON documents (name)")
        superuser.execute(
            "UPDATE pg_index SET indisvalid = false"
            " WHERE indexrelid = 'ix_documents_shown_name'::regclass"
        )
    assert migrate(lab).status is RunStatus.SUCCEEDED
    expected = fresh_print(lab)
    assert {print_of(lab, each.location.database) for each in fleet} == {expected}


def test_percent_signs_colons_and_quotes_arrive_as_they_are(
    lab: Laboratory, fleet: Fleet, release: Release
) -> None:
    words = "50% of :all it''s %s \\\\ %(x)s"
    release(
        Migration(
            f"""
            op.execute("COMMENT ON TABLE documents IS '{words}'".replace(":all", "\\\\:all"))
            op.add_column("documents", sa.Column("share", sa.Text(), server_default="9%"))
            """
        )
    )
    migrate(lab)
    [(comment,)] = on(lab, fleet[0], "SELECT obj_description('documents'::regclass)")
    assert comment == "50% of :all it's %s \\ %(x)s"
    [(default,)] = on(
        lab,
        fleet[0],
        "SELECT column_default FROM information_schema.columns"
        " WHERE table_name = 'documents' AND column_name = 'share'",
    )
    assert default == "'9%'::text"


def test_a_plan_tells_who_goes_where_by_which_sql(
    lab: Laboratory, fleet: Fleet, release: Release
) -> None:
    release(column("colour"))
    with counted(lab) as opened:
        planned = planning.plan(lab.manager, Order(waves=("canary", "40%", "rest")))
        rendered = planning.render(lab.manager, planned)
    assert opened == []
    assert [(wave.name, len(wave.entries)) for wave in planned.waves] == [
        ("canary", 1),
        ("40%", 2),
        ("rest", 2),
    ]
    assert rendered == {
        HEAD: [
            f"-- {after(1)} up: Migration {after(1)}.",
            "ALTER TABLE documents ADD COLUMN colour TEXT;",
        ]
    }


def test_a_missing_database_fails_alone(lab: Laboratory, fleet: Fleet, release: Release) -> None:
    release(column("colour"))
    with lab.as_superuser() as superuser:
        superuser.execute(f'DROP DATABASE "{fleet[0].location.database}" WITH (FORCE)'.encode())
    ended = migrate(lab)
    assert (ended.counts["succeeded"], ended.counts["failed"]) == (4, 1)
    [failed] = [each for each in results(ended.run_id) if each.status == "failed"]
    assert "does not exist" in (failed.error or "")


def test_the_runtime_role_cannot_read_the_record(lab: Laboratory) -> None:
    """Row level security shows it to nobody but an administrator, who may write a wish only."""
    url = lab.settings.database_url.get_secret_value()
    with psycopg.connect(url, autocommit=True) as connection:
        for table in ("migration_runs", "migration_results"):
            assert connection.execute(f"SELECT * FROM {table}".encode()).fetchall() == []
        assert connection.execute("UPDATE migration_runs SET status = 'succeeded'").rowcount == 0
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("UPDATE migration_results SET status = 'succeeded'")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DELETE FROM schema_releases")
