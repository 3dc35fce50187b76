"""A tenant's database: made, migrated, shut, opened and dropped; each as often as one likes."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from threading import Barrier
from typing import Any

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.core import ids
from app.core.errors import NotFound, Unavailable
from app.tenancy import migrations, provisioning
from app.tenancy.inspection import take_inventory
from app.tenancy.locations import Door, TenantLocation
from app.tenancy.names import tenant_database_name
from app.tenancy.provisioning import DatabaseInUse, NotOurs
from app.tenancy.server import Connection, Server, ServerUnavailable
from tests.tenancy.laboratory import PATIENCE_SECONDS, Laboratory, until
from tests.tenancy.pools import backend, sessions_of, use
from tests.tenancy.processes import Understudy


def state(lab: Laboratory, tenant: TenantLocation) -> dict[str, object]:
    """Everything that the server knows of a tenant's role and database."""
    queries = {
        "role": """
            SELECT rolcanlogin, rolconnlimit, rolpassword, shobj_description(oid, 'pg_authid')
            FROM pg_authid WHERE rolname = %s
        """,
        "database": """
            SELECT oid, pg_get_userbyid(datdba), datacl::text, datallowconn, datistemplate,
                   shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s
        """,
        "groups": """
            SELECT roleid::regrole::text FROM pg_auth_members m JOIN pg_roles r ON r.oid = member
            WHERE rolname = %s
        """,
        "settings": """
            SELECT setdatabase = 0, setconfig FROM pg_db_role_setting
            JOIN pg_roles r ON r.oid = setrole WHERE rolname = %s
        """,
    }
    with lab.as_superuser() as superuser:
        return {
            what: superuser.execute(query.encode(), (tenant.database,)).fetchall()
            for what, query in queries.items()
        }


NOTHING: dict[str, object] = {"role": [], "database": [], "groups": [], "settings": []}


def new_location(lab: Laboratory, slug: str = "acme") -> TenantLocation:
    return lab.manager.new_location(ids.new_id(), slug)


@pytest.fixture
def tenant(lab: Laboratory) -> Iterator[TenantLocation]:
    made = lab.new_database()
    yield made
    lab.manager.drop_tenant_database(made)


# Making.


def test_making_it_twice_changes_nothing(lab: Laboratory, tenant: TenantLocation) -> None:
    before = state(lab, tenant)
    use(lab.manager, tenant)
    assert lab.manager.provision(tenant) == migrations.head()
    assert not lab.manager.create_tenant_database(tenant)
    assert lab.manager.create_tenant_tables(tenant) == migrations.head()
    assert lab.manager.migrate_tenant_database(tenant) == migrations.head()
    assert state(lab, tenant) == before
    use(lab.manager, tenant)


def test_each_step_can_be_repeated_and_the_rest_is_made_up_for(lab: Laboratory) -> None:
    """Whatever part exists: the role alone, a database that nobody opened, one without a role."""
    whole = lab.new_database()
    expected = shape(state(lab, whole))
    server, installation = lab.manager.server, lab.installation
    for steps in range(4):
        tenant = new_location(lab)
        credentials = lab.manager._logins.of(tenant)
        template = installation.template(migrations.head())
        with server.connect_as_provisioner() as connection:
            if steps >= 1:
                provisioning.create_role(
                    connection, installation, tenant, credentials, connection_limit=1
                )
            if steps >= 2:
                provisioning.create_database(connection, installation, tenant, template=template)
            if steps >= 3:
                connection.execute(f'REVOKE {installation.tenant_rw} FROM "{tenant.role}"'.encode())
                connection.execute(f'DROP ROLE "{tenant.role}"'.encode())
        lab.manager.provision(tenant)
        assert shape(state(lab, tenant)) == expected, f"after {steps} steps"
        use(lab.manager, tenant)


def shape(state: dict[str, object]) -> str:
    """A state without what belongs to one tenant only."""
    with_names: Any = state
    [role], [database] = with_names["role"], with_names["database"]
    acl = database[2].replace(database[5].split('"tenant": "')[1][:36].replace("-", ""), "…")
    return repr((role[:2], database[1], acl, database[3:5], state["groups"], state["settings"]))


def test_nobody_enters_between_the_clone_and_its_grants(lab: Laboratory) -> None:
    """PUBLIC may connect to every new database, until that is taken away."""
    tenant = new_location(lab)
    with lab.manager.server.connect_as_provisioner() as connection:
        provisioning.create_database(
            connection,
            lab.installation,
            tenant,
            template=lab.installation.template(migrations.head()),
        )
    with pytest.raises(psycopg.OperationalError, match="not currently accepting connections"):
        lab.as_superuser(tenant.database)
    lab.manager.provision(tenant)
    use(lab.manager, tenant)


def test_what_a_tenants_database_is(lab: Laboratory, tenant: TenantLocation) -> None:
    found: Any = state(lab, tenant)
    [(can_log_in, limit, verifier, mark)] = found["role"]
    assert (can_log_in, limit) == (True, lab.settings.tenant_role_connection_limit)
    assert verifier == lab.manager._logins.of(tenant).verifier
    assert lab.installation.owns(mark, "tenant")
    [(_oid, owner, acl, open_, is_template, mark)] = found["database"]
    assert (owner, open_, is_template) == (lab.installation.schema_owner, True, False)
    assert f"{tenant.role}=c/" in acl
    assert lab.installation.owns(mark, "tenant")
    assert str(tenant.tenant_id) in mark
    assert found["groups"] == [(lab.installation.tenant_rw,)]
    with lab.manager.tenant_db_session(tenant) as session:
        assert session.scalar(text("SHOW server_encoding")) == "UTF8"


def test_many_at_once(lab: Laboratory) -> None:
    """Grants touch catalogues that all tenants share."""
    tenants = [new_location(lab, f"many-{number}") for number in range(12)]
    with ThreadPoolExecutor(12) as pool:
        assert set(pool.map(lab.manager.provision, tenants)) == {migrations.head()}
    for tenant in tenants:
        use(lab.manager, tenant)
    lab.manager.pool.dispose()
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lab.manager.drop_tenant_database, tenants))
    assert all(state(lab, tenant) == NOTHING for tenant in tenants)


def test_one_made_by_many_at_once(lab: Laboratory) -> None:
    tenant = new_location(lab)
    with ThreadPoolExecutor(8) as pool:
        made = [pool.submit(lab.manager.provision, tenant) for _ in range(8)]
        assert {each.result(PATIENCE_SECONDS) for each in made} == {migrations.head()}
    use(lab.manager, tenant)


def test_one_cloned_by_many_at_once_without_the_lock(lab: Laboratory) -> None:
    """The losers see two different errors of the server: 42P04, or 23505 on its catalogue."""
    tenant = new_location(lab)
    template = lab.installation.template(migrations.head())
    start = Barrier(8)

    def clone() -> None:
        with lab.manager.server.connect_as_provisioner() as connection:
            start.wait(PATIENCE_SECONDS)
            provisioning.create_database(connection, lab.installation, tenant, template=template)

    with ThreadPoolExecutor(8) as pool:
        for each in [pool.submit(clone) for _ in range(8)]:
            each.result(PATIENCE_SECONDS)
    lab.manager.provision(tenant)
    use(lab.manager, tenant)


def test_opaque_names_where_customers_must_not_show(lab: Laboratory) -> None:
    discreet = lab.another_manager(opaque_database_names=True)
    tenant = discreet.new_location(ids.new_id(), "acme")
    discreet.provision(tenant)
    assert tenant.database == tenant.role == f"tenant_{tenant.tenant_id.hex}"
    assert use(discreet, tenant)
    assert "acme" not in repr(state(lab, tenant))
    discreet.pool.dispose()


# Dropping.


def test_dropping_it_twice_changes_nothing(lab: Laboratory) -> None:
    tenant = lab.new_database()
    use(lab.manager, tenant)
    for _ in range(2):
        lab.manager.drop_tenant_database(tenant)
        assert state(lab, tenant) == NOTHING
        assert lab.manager.pool.open_connections(tenant.database) == 0


def test_what_never_existed_can_be_dropped(lab: Laboratory) -> None:
    lab.manager.drop_tenant_database(new_location(lab))


def test_a_role_without_its_database_can_be_dropped(lab: Laboratory) -> None:
    tenant = lab.new_database()
    with lab.as_superuser() as superuser:
        superuser.execute(f'DROP DATABASE "{tenant.database}" WITH (FORCE)'.encode())
    lab.manager.drop_tenant_database(tenant)
    assert state(lab, tenant) == NOTHING


def test_without_force_sessions_are_spared(lab: Laboratory, tenant: TenantLocation) -> None:
    with lab.as_tenant(tenant) as visitor:
        with pytest.raises(DatabaseInUse) as refused:
            lab.manager.drop_tenant_database(tenant, force=False)
        assert refused.value.status == 409
        assert visitor.execute("SELECT 1").fetchone() == (1,)
    until(lambda: not sessions_of(lab, [tenant]), "the visitor to be gone")
    lab.manager.drop_tenant_database(tenant, force=False)
    assert state(lab, tenant) == NOTHING


def test_our_own_idle_connections_do_not_hinder_a_drop(
    lab: Laboratory, tenant: TenantLocation
) -> None:
    use(lab.manager, tenant)
    lab.manager.drop_tenant_database(tenant, force=False)
    assert state(lab, tenant) == NOTHING


@pytest.mark.parametrize("verb", ["drop_tenant_database", "provision", "create_tenant_database"])
def test_what_is_marked_as_anothers_is_not_touched(lab: Laboratory, verb: str) -> None:
    tenant = lab.new_database()
    mark(lab, tenant, '{"kind": "tenant", "tenantry": "theirs"}')
    before = state(lab, tenant)["database"]
    with pytest.raises(NotOurs):
        getattr(lab.manager, verb)(tenant)
    assert state(lab, tenant)["database"] == before
    mark(lab, tenant, lab.installation.comment("tenant", tenant=str(tenant.tenant_id)))
    lab.manager.drop_tenant_database(tenant)


def mark(lab: Laboratory, tenant: TenantLocation, comment: str) -> None:
    with lab.as_superuser() as superuser:
        superuser.execute(
            sql.SQL("COMMENT ON DATABASE {name} IS {comment}").format(
                name=sql.Identifier(tenant.database), comment=sql.Literal(comment)
            )
        )


def test_another_installation_cannot_drop_it(
    lab: Laboratory, house: Laboratory, tenant: TenantLocation
) -> None:
    """Its database is marked; and where the mark is missing, the other is not its owner."""
    with pytest.raises(NotOurs):
        house.manager.drop_tenant_database(tenant)
    with lab.as_superuser() as superuser:
        superuser.execute(f'COMMENT ON DATABASE "{tenant.database}" IS NULL'.encode())
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        house.manager.drop_tenant_database(tenant)
    use(lab.manager, tenant)
    lab.manager.create_tenant_database(tenant)


def test_an_inventory_holds_what_is_ours_only(
    lab: Laboratory, house: Laboratory, tenant: TenantLocation
) -> None:
    ours, theirs = take_inventory(lab.manager.server), take_inventory(house.manager.server)
    assert tenant.database in ours.databases & ours.roles & ours.open_roles
    assert not ours.databases & theirs.databases
    assert not ours.roles & theirs.roles
    assert lab.installation.id not in ours.databases


# Suspending.


def test_a_suspended_tenant_is_shut_out_everywhere(
    lab: Laboratory, other_process: Understudy
) -> None:
    """A second process holds a session, and loses it; so does a stranger with the password."""
    with lab.app.app_context():
        tenant = lab.manager._registry.locate(lab.new_house("suspended").database)
        other_process.do("hold", database=tenant.database)
        with ExitStack() as stack:
            stranger = stack.enter_context(lab.as_tenant(tenant))
            here = use(lab.manager, tenant)
            lab.manager.suspend_tenant_database(tenant)
            assert sessions_of(lab, [tenant]).total() == 0
            assert other_process.do("ask") == {"error": "OperationalError"}
            with pytest.raises(psycopg.OperationalError):
                stranger.execute("SELECT 1")
        with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
            lab.as_tenant(tenant)
        with pytest.raises((DBAPIError, Unavailable)):
            use(lab.manager, tenant)
        assert "error" in other_process.do("use", database=tenant.database)
        lab.manager.suspend_tenant_database(tenant)
        lab.manager.resume_tenant_database(tenant)
        lab.manager.resume_tenant_database(tenant)
        assert use(lab.manager, tenant) != here
        other_process.do("let_go")
        assert "backend" in other_process.do("use", database=tenant.database)


@pytest.mark.parametrize("verb", ["suspend_tenant_database", "resume_tenant_database"])
def test_a_tenant_whose_role_is_gone(lab: Laboratory, verb: str) -> None:
    """It is being deleted at this moment; a request that comes again finds no tenant."""
    with pytest.raises(Unavailable):
        getattr(lab.manager, verb)(new_location(lab))


def test_provisioning_a_suspended_tenant_lets_it_in_again(
    lab: Laboratory, tenant: TenantLocation
) -> None:
    """Which is why the tenant's state is asked first: see the lifecycle."""
    lab.manager.suspend_tenant_database(tenant)
    lab.manager.provision(tenant)
    use(lab.manager, tenant)


def test_the_server_has_nothing_to_warn_of(
    lab: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a tenant's whole life; a log that is full of warnings is read by nobody."""
    warnings: list[str | None] = []
    connect = Server.connect_as_provisioner

    def note(told: psycopg.errors.Diagnostic) -> None:
        if told.severity_nonlocalized == "WARNING":
            warnings.append(told.message_primary)

    def listening(server: Server, database: str = "postgres") -> Connection:
        connection = connect(server, database)
        connection.add_notice_handler(
            lambda each: (
                warnings.append(each.message_primary)
                if each.severity_nonlocalized == "WARNING"
                else None
            )
        )
        return connection

    monkeypatch.setattr(Server, "connect_as_provisioner", listening)
    tenant = new_location(lab)
    lab.manager.provision(tenant)
    doors = (Door.OPEN, Door.READ_ONLY, Door.READ_ONLY, Door.SHUT, Door.SHUT, Door.OPEN)
    wanted = iter(doors)
    for _ in doors:
        lab.manager.settle_tenant_database(tenant, lambda: next(wanted))
    lab.manager.drop_tenant_database(tenant)
    assert warnings == []


def test_a_dropped_tenants_sessions_end_everywhere(
    lab: Laboratory, other_process: Understudy
) -> None:
    with lab.app.app_context():
        tenant = lab.manager._registry.locate(lab.new_house("dropped").database)
        other_process.do("hold", database=tenant.database)
        lab.manager.drop_tenant_database(tenant)
        assert other_process.do("ask") == {"error": "OperationalError"}
        other_process.do("let_go")
        assert "error" in other_process.do("use", database=tenant.database)


# One at a time.


def test_a_second_process_waits_for_the_first(lab: Laboratory) -> None:
    tenant = new_location(lab)
    with lab.as_superuser() as superuser, ThreadPoolExecutor(1) as pool:

        def waits() -> bool:
            row = superuser.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE usename = %s"
                " AND wait_event_type = 'Lock' AND query LIKE '%%pg_advisory_lock%%'",
                (lab.installation.provisioner,),
            ).fetchone()
            return row == (1,)

        with lab.manager.server.locked(tenant.database):
            made = pool.submit(lab.manager.provision, tenant)
            until(waits, "the other to wait for the lock")
            assert state(lab, tenant) == NOTHING
        assert made.result(PATIENCE_SECONDS) == migrations.head()


# Going astray.


@pytest.mark.parametrize(
    "work",
    [
        lambda manager, tenant: manager.provision(tenant),
        lambda manager, tenant: manager.drop_tenant_database(tenant),
        lambda manager, tenant: manager.suspend_tenant_database(tenant),
        lambda manager, tenant: manager.resume_tenant_database(tenant),
    ],
)
def test_a_server_that_is_away(
    lab: Laboratory, work: Callable[[Any, TenantLocation], None]
) -> None:
    away = lab.another_manager()
    away.server._provisioner = {"host": "/nowhere", "user": "nobody", "dbname": "postgres"}
    away.server._address = {"host": "/nowhere", "connect_timeout": 2}
    with pytest.raises(ServerUnavailable) as refused:
        work(away, new_location(lab))
    assert refused.value.status == 503
    assert refused.value.retry_after


def test_a_name_that_no_tenant_has(lab: Laboratory) -> None:
    with lab.app.app_context():
        house = lab.new_house("acme")
        assert lab.manager._registry.locate(house.database).database == house.database
        for name in (
            "postgres",
            tenant_database_name("acme", ids.new_id()),
            tenant_database_name("other", house.id),
            f"{house.database}\n",
        ):
            with pytest.raises(NotFound), lab.manager.tenant_db_session(name):
                pass


def test_sealed_credentials_open_for_their_own_tenant_only(
    lab: Laboratory, tenant: TenantLocation
) -> None:
    stolen = replace(tenant, tenant_id=ids.new_id())
    with pytest.raises(Unavailable):
        use(lab.manager, stolen)
    assert tenant.sealed_credentials not in repr(tenant)


def test_a_session_commits_where_its_block_ends_well_and_only_there(
    lab: Laboratory, tenant: TenantLocation
) -> None:
    def write(*, then: type[Exception] | None) -> None:
        with lab.manager.tenant_db_session(tenant) as session:
            backend(session)
            session.execute(
                text(
                    "INSERT INTO files (id, key, state, created_at, updated_at)"
                    " VALUES (gen_random_uuid(), gen_random_uuid()::text, 'pending', now(), now())"
                )
            )
            if then is not None:
                raise then

    write(then=None)
    with pytest.raises(KeyError):
        write(then=KeyError)
    with lab.manager.tenant_db_session(tenant) as session:
        assert session.scalar(text("SELECT count(*) FROM files")) == 1
