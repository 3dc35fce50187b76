"""The reconciler finds what a crash left on either side, mends it, and touches nothing else."""

from typing import Any
from uuid import UUID

import pytest
from psycopg import sql

from app.core import ids
from app.core.db import PlatformUnavailable
from app.domains.tenants.models import TenantState
from app.domains.tenants.service import deletion, lifecycle, reconciliation
from app.domains.tenants.service.directory import TenantRegistry
from app.domains.tenants.service.reconciliation import Fault, Finding
from app.integrations.storage import current_storage
from app.tenancy import migrations, provisioning
from app.tenancy.inspection import take_inventory
from app.tenancy.locations import TenantLocation
from app.tenancy.server import ServerUnavailable
from tests.cast import Cast, Person
from tests.core.apps import another_app
from tests.domains.tenants.ledger import databases_in_ledger, serves, set_state, tenant_row
from tests.tenancy.laboratory import Laboratory


@pytest.fixture(autouse=True)
def _nothing_is_wrong_before_and_after(lab: Laboratory) -> Any:
    assert reconciliation.find_faults(lab.manager) == []
    yield
    for finding in reconciliation.find_faults(lab.manager):
        reconciliation.mend(lab.manager, current_storage(), finding)
        if finding.fault is Fault.MISSING:
            deletion.purge(lab.manager, current_storage(), tenant_id=finding.tenant_id)
    assert reconciliation.find_faults(lab.manager) == []
    assert take_inventory(lab.manager.server).databases == databases_in_ledger()


@pytest.fixture
def tenant(lab: Laboratory, alice: Person) -> TenantLocation:
    """An active tenant."""
    made = lifecycle.create_tenant(
        lab.manager, name="Acme", slug=f"t-{ids.new_id().hex[-12:]}", owner_id=alice.user_id
    )
    return TenantRegistry().locate_tenant(made.id)


def only_fault(lab: Laboratory) -> Finding:
    [finding] = reconciliation.find_faults(lab.manager)
    assert finding.outcome is None
    return finding


def mended(lab: Laboratory, finding: Finding) -> str | None:
    return reconciliation.mend(lab.manager, current_storage(), finding).outcome


def superuser_does(lab: Laboratory, *statements: str) -> None:
    with lab.as_superuser() as superuser:
        for statement in statements:
            superuser.execute(statement.encode())


def everything_on(lab: Laboratory) -> list[Any]:
    """Databases and roles of an installation, finished or not, as the server has them."""
    with lab.as_superuser() as superuser:
        return superuser.execute(
            """
            SELECT datname, datacl::text, datallowconn FROM pg_database
            WHERE pg_get_userbyid(datdba) LIKE %(ours)s
            UNION ALL
            SELECT rolname, (SELECT array_agg(roleid::text || admin_option ORDER BY 1)::text
                             FROM pg_auth_members WHERE member = oid), rolcanlogin
            FROM pg_roles WHERE rolname LIKE %(ours)s
                OR shobj_description(oid, 'pg_authid') LIKE %(mark)s
            ORDER BY 1, 2
            """,
            {
                "ours": f"{lab.installation.id}\\_%",
                "mark": f'%"tenantry": "{lab.installation.id}"%',
            },
        ).fetchall()


@pytest.mark.parametrize("state", ["requested", "creating", "failed"])
def test_an_unfinished_tenant_is_finished(lab: Laboratory, alice: Person, state: str) -> None:
    tenant_id = lifecycle.register(
        lab.manager, name="A", slug=f"half-{state}", owner_id=alice.user_id
    )
    set_state(tenant_id, TenantState(state))
    finding = only_fault(lab)
    assert (finding.fault, finding.tenant_id) == (Fault.UNFINISHED, tenant_id)
    assert mended(lab, finding) == "provisioned"
    assert tenant_row(tenant_id).state == TenantState.ACTIVE
    assert serves(lab, tenant_id)


def test_a_purge_is_brought_to_its_end(lab: Laboratory, tenant: TenantLocation) -> None:
    set_state(tenant.tenant_id, TenantState.PURGING)
    finding = only_fault(lab)
    assert finding.fault is Fault.UNPURGED
    assert mended(lab, finding) == "purged"
    assert tenant_row(tenant.tenant_id).state == TenantState.PURGED


def test_a_suspended_tenant_that_may_log_in_is_shut_out(
    lab: Laboratory, tenant: TenantLocation
) -> None:
    set_state(tenant.tenant_id, TenantState.SUSPENDED)
    finding = only_fault(lab)
    assert finding.fault is Fault.NOT_SHUT_OUT
    assert mended(lab, finding) == "shut out"
    assert tenant.role not in take_inventory(lab.manager.server).open_roles


@pytest.mark.parametrize("part", ["whole", "role alone", "database alone", "unopened", "unmarked"])
def test_an_orphan_is_dropped(lab: Laboratory, part: str) -> None:
    orphan = lab.manager.new_location(ids.new_id(), "orphan")
    half_make(lab, orphan, part)
    finding = only_fault(lab)
    assert (finding.fault, finding.database) == (Fault.ORPHAN, orphan.database)
    assert finding.tenant_id == orphan.tenant_id
    assert mended(lab, finding) == "dropped"
    assert orphan.database not in repr(everything_on(lab))


def half_make(lab: Laboratory, orphan: TenantLocation, part: str) -> None:
    installation, server = lab.installation, lab.manager.server
    template = installation.template(migrations.head())
    credentials = lab.manager._logins.of(orphan)
    with server.connect_as_provisioner() as connection:
        if part in {"role alone", "unopened"}:
            provisioning.create_role(
                connection, installation, orphan, credentials, connection_limit=1
            )
        if part in {"database alone", "unopened"}:
            provisioning.create_database(connection, installation, orphan, template=template)
    if part in {"whole", "unmarked"}:
        lab.manager.provision(orphan)
    if part == "unmarked":
        superuser_does(lab, f'COMMENT ON DATABASE "{orphan.database}" IS NULL')


@pytest.mark.parametrize(
    "loss",
    [
        ('DROP DATABASE "{name}" WITH (FORCE)',),
        ('DROP DATABASE "{name}" WITH (FORCE)', 'DROP ROLE "{name}"'),
    ],
    ids=["database", "both"],
)
def test_what_is_missing_is_told_of_and_never_made_anew(
    lab: Laboratory, tenant: TenantLocation, loss: tuple[str, ...]
) -> None:
    """An empty database in the place of a lost one would look as if all were well."""
    superuser_does(lab, *[statement.format(name=tenant.database) for statement in loss])
    finding = only_fault(lab)
    assert finding.fault is Fault.MISSING
    outcome = mended(lab, finding)
    assert outcome is not None
    assert outcome.startswith("left alone")
    assert tenant_row(tenant.tenant_id).state == TenantState.ACTIVE
    assert tenant.database not in take_inventory(lab.manager.server).databases
    assert only_fault(lab) == finding


def make_one_of_each(lab: Laboratory, alice: Person, tenant: TenantLocation) -> None:
    def register(slug: str) -> UUID:
        return lifecycle.register(lab.manager, name="A", slug=slug, owner_id=alice.user_id)

    register(f"a-{ids.new_id().hex[-12:]}")
    set_state(tenant.tenant_id, TenantState.SUSPENDED)
    set_state(register(f"b-{ids.new_id().hex[-12:]}"), TenantState.PURGING)
    half_make(lab, lab.manager.new_location(ids.new_id(), "orphan"), "role alone")


def test_a_dry_run_changes_nothing(lab: Laboratory, alice: Person, tenant: TenantLocation) -> None:
    make_one_of_each(lab, alice, tenant)
    before = everything_on(lab)
    rows = databases_in_ledger()
    findings = reconciliation.find_faults(lab.manager)
    assert {finding.fault for finding in findings} == {
        Fault.UNFINISHED,
        Fault.UNPURGED,
        Fault.NOT_SHUT_OUT,
        Fault.ORPHAN,
    }
    assert reconciliation.find_faults(lab.manager) == findings
    assert everything_on(lab) == before
    assert databases_in_ledger() == rows
    assert tenant_row(tenant.tenant_id).state == TenantState.SUSPENDED


def test_what_cannot_be_mended_stops_no_other(
    lab: Laboratory, alice: Person, tenant: TenantLocation
) -> None:
    make_one_of_each(lab, alice, tenant)
    foreign = lab.manager.new_location(ids.new_id(), "foreign")
    half_make(lab, foreign, "database alone")
    with lab.as_superuser() as superuser:
        superuser.execute(
            sql.SQL("COMMENT ON DATABASE {name} IS {mark}").format(
                name=sql.Identifier(foreign.database),
                mark=sql.Literal('{"kind": "tenant", "tenantry": "theirs"}'),
            )
        )
    outcomes = {
        finding.database: mended(lab, finding)
        for finding in reconciliation.find_faults(lab.manager)
    }
    failed = outcomes.pop(foreign.database)
    assert failed is not None
    assert failed.startswith("failed: ")
    assert len(outcomes) == 4
    assert not any((outcome or "failed").startswith("failed") for outcome in outcomes.values())
    superuser_does(lab, f'COMMENT ON DATABASE "{foreign.database}" IS NULL')


def test_another_installation_on_the_server_stays_whole(
    lab: Laboratory, alice: Person, tenant: TenantLocation, cast: Cast, house: Laboratory
) -> None:
    """Even what lies half made there, and what only looks like a tenant's."""
    with house.app.app_context():
        left_by_other_tests = reconciliation.find_faults(house.manager)
    for part in ("role alone", "database alone", "unopened", "unmarked"):
        half_make(house, house.manager.new_location(ids.new_id(), "theirs"), part)
    stranger = f"tenant_stranger_{ids.new_id().hex}"
    superuser_does(lab, f'CREATE ROLE "{stranger}"', f'CREATE DATABASE "{stranger}"')
    make_one_of_each(lab, alice, tenant)
    before = everything_on(house)
    for finding in reconciliation.find_faults(lab.manager):
        reconciliation.mend(lab.manager, current_storage(), finding)
    assert everything_on(house) == before
    assert cast.alice.get(cast.acme.documents).status_code == 200
    superuser_does(lab, f'DROP DATABASE "{stranger}"', f'DROP ROLE "{stranger}"')
    with house.app.app_context():
        found = [
            finding
            for finding in reconciliation.find_faults(house.manager)
            if finding not in left_by_other_tests
        ]
        assert [finding.fault for finding in found] == [Fault.ORPHAN] * 4
        for finding in found:
            reconciliation.mend(house.manager, current_storage(), finding)


def test_mending_twice_is_harmless(lab: Laboratory, alice: Person, tenant: TenantLocation) -> None:
    """Two reconcilers found the same."""
    make_one_of_each(lab, alice, tenant)
    findings = reconciliation.find_faults(lab.manager)
    for finding in findings:
        reconciliation.mend(lab.manager, current_storage(), finding)
    before = everything_on(lab)
    for finding in findings:
        reconciliation.mend(lab.manager, current_storage(), finding)
    assert everything_on(lab) == before


def test_a_server_that_is_away_is_not_taken_for_an_empty_one(
    lab: Laboratory, tenant: TenantLocation
) -> None:
    away = lab.another_manager()
    away.server._address = {"host": "/nowhere", "connect_timeout": 2}
    away.server._provisioner = {"user": "nobody"}
    with pytest.raises(ServerUnavailable):
        reconciliation.find_faults(away)


def test_a_process_without_the_platforms_credential_reconciles_nothing(lab: Laboratory) -> None:
    with (
        another_app(lab.settings, database_platform_url=None) as app,
        app.app_context(),
        pytest.raises(PlatformUnavailable),
    ):
        reconciliation.find_faults(lab.manager)
