"""kill -9 at every step of a tenant's life: the reconciler makes it one tenant, or none.

A step is an exchange with a server: a statement, a COMMIT. The process dies with the statement on
its way and the answer not read, so the server may be at work on it still when the mending begins.
"""

from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from uuid import UUID

import psycopg
import pytest

from app.domains.tenants.errors import SlugTaken
from app.domains.tenants.models import TenantState
from app.domains.tenants.service import deletion, lifecycle, reconciliation
from app.domains.tenants.service.directory import TenantRegistry
from app.integrations.storage import current_storage
from app.tenancy.inspection import take_inventory
from tests.cast import Person
from tests.domains.tenants.ledger import (
    databases_in_ledger,
    jobs_of,
    run_jobs,
    serves,
    tenant_row,
    tenants_by_slug,
)
from tests.tenancy.laboratory import Laboratory
from tests.tenancy.processes import Understudy, understudy

SHUT_OUT = (psycopg.OperationalError, psycopg.errors.InsufficientPrivilege)


@pytest.fixture(scope="module")
def doomed(lab: Laboratory) -> Iterator[Understudy]:
    with understudy(lab) as process:
        yield process


def mend_all(lab: Laboratory) -> None:
    """One run of the reconciler; afterwards it finds nothing, and neither do we."""
    for finding in reconciliation.find_faults(lab.manager):
        mended = reconciliation.mend(lab.manager, current_storage(), finding)
        assert "failed" not in (mended.outcome or ""), mended
    assert reconciliation.find_faults(lab.manager) == []
    inventory = take_inventory(lab.manager.server)
    assert inventory.databases == inventory.roles == databases_in_ledger()
    assert stray_roles(lab) == set()


def stray_roles(lab: Laboratory) -> set[str]:
    """Members of the tenants' group without a database, whatever their comment says."""
    with lab.as_superuser() as superuser:
        rows = superuser.execute(
            """
            SELECT rolname FROM pg_auth_members JOIN pg_roles r ON r.oid = member
            WHERE roleid = %s::regrole AND rolname LIKE 'tenant\\_%%'
              AND rolname NOT IN (SELECT datname FROM pg_database)
            """,
            (lab.installation.tenant_rw,),
        ).fetchall()
    return {name for (name,) in rows}


def test_killed_while_it_is_created(lab: Laboratory, doomed: Understudy, alice: Person) -> None:
    slugs = []
    for step in count(1):
        slugs.append(f"created-{step}")
        arguments = {"name": "Acme", "slug": slugs[-1], "owner_id": alice.user_id}
        if not doomed.dies("create", at=step, **arguments):
            break
    assert len(slugs) > 20
    mend_all(lab)
    found = tenants_by_slug()
    assert {len(found[slug]) for slug in slugs if slug in found} == {1}
    assert all(found[slug][0].state == TenantState.ACTIVE for slug in slugs if slug in found)
    assert all(serves(lab, found[slug][0].id) for slug in slugs if slug in found)
    # Nothing was there before the first COMMIT; from then on there is a tenant at every step.
    steps = [slug in found for slug in slugs]
    assert steps == sorted(steps)
    assert not steps[0]
    with pytest.raises(SlugTaken):
        lifecycle.create_tenant(lab.manager, name="Again", slug=slugs[-1], owner_id=alice.user_id)
    lifecycle.create_tenant(lab.manager, name="Again", slug=slugs[0], owner_id=alice.user_id)


@pytest.mark.parametrize("step", range(8, 32, 5))
def test_a_job_finishes_what_the_killed_process_registered(
    lab: Laboratory, doomed: Understudy, alice: Person, step: int
) -> None:
    """Row and job are one transaction: there is no tenant that nobody is bound to finish."""
    slug = f"promised-{step}"
    arguments = {"name": "Acme", "slug": slug, "owner_id": alice.user_id}
    doomed.dies("create", at=step, **arguments)
    for tenant in tenants_by_slug().get(slug, []):
        assert jobs_of(tenant.id)
        run_jobs(lab, tenant.id)
        assert tenant_row(tenant.id).state == TenantState.ACTIVE
        assert serves(lab, tenant.id)
    mend_all(lab)


def test_a_job_finishes_each_change_that_a_killed_process_began(
    lab: Laboratory, doomed: Understudy, alice: Person
) -> None:
    made = lifecycle.create_tenant(lab.manager, name="A", slug="begun", owner_id=alice.user_id)
    arguments = {"delete": {"confirm": made.slug}}
    for verb, state in (
        ("suspend", "suspended"),
        ("resume", "active"),
        ("delete", "deleted"),
        ("restore", "active"),
    ):
        for step in count(1):  # until the registry has changed, and nothing else
            doomed.dies(verb, at=step, tenant_id=made.id, **arguments.get(verb, {}))
            if tenant_row(made.id).state == state:
                break
        run_jobs(lab, made.id)
        assert reconciliation.find_faults(lab.manager) == []
    assert serves(lab, made.id)


def test_killed_while_it_is_purged(lab: Laboratory, doomed: Understudy, alice: Person) -> None:
    made = []
    for step in count(1):
        slug = f"purged-{step}"
        made.append(
            lifecycle.create_tenant(lab.manager, name="A", slug=slug, owner_id=alice.user_id)
        )
        if not doomed.dies("purge", at=step, tenant_id=made[-1].id):
            break
    assert len(made) > 10
    mend_all(lab)
    left = tenants_by_slug()
    for tenant in made:
        if tenant.slug in left:
            assert left[tenant.slug][0].state == TenantState.ACTIVE
            assert serves(lab, tenant.id)
    assert made[0].slug in left
    assert made[-1].slug not in left


def test_killed_while_it_is_suspended(lab: Laboratory, doomed: Understudy, alice: Person) -> None:
    """From the moment that its state says so, no session of it reads a row once it is mended."""
    made = lifecycle.create_tenant(lab.manager, name="A", slug="suspended", owner_id=alice.user_id)
    location = TenantRegistry().locate_tenant(made.id)
    for step in count(1):
        with lab.as_tenant(location) as live:
            killed = doomed.dies("suspend", at=step, tenant_id=made.id)
            mend_all(lab)
            if tenant_row(made.id).state == TenantState.SUSPENDED:
                with pytest.raises(SHUT_OUT):
                    live.execute("SELECT count(*) FROM public.documents")
                with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
                    lab.as_tenant(location)
                lifecycle.resume(lab.manager, tenant_id=made.id)
        assert serves(lab, made.id)
        if not killed:
            break
    assert step > 10


def test_killed_while_it_is_resumed(lab: Laboratory, doomed: Understudy, alice: Person) -> None:
    made = lifecycle.create_tenant(lab.manager, name="A", slug="resumed", owner_id=alice.user_id)
    location = TenantRegistry().locate_tenant(made.id)
    for step in count(1):
        lifecycle.suspend(lab.manager, tenant_id=made.id)
        killed = doomed.dies("resume", at=step, tenant_id=made.id)
        mend_all(lab)
        if tenant_row(made.id).state == TenantState.SUSPENDED:
            with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
                lab.as_tenant(location)
        else:
            assert serves(lab, made.id)
        if not killed:
            break
    assert step > 10


def test_killed_while_it_is_deleted_or_restored(
    lab: Laboratory, doomed: Understudy, alice: Person
) -> None:
    """The state says at each step whether the role may log in."""
    made = lifecycle.create_tenant(lab.manager, name="A", slug="wavering", owner_id=alice.user_id)
    location = TenantRegistry().locate_tenant(made.id)
    more = {"delete": {"confirm": made.slug}, "restore": {}}
    for verb, arguments in more.items():
        target = {"delete": TenantState.DELETED, "restore": TenantState.ACTIVE}[verb]
        for step in count(1):
            killed = doomed.dies(verb, at=step, tenant_id=made.id, **arguments)
            mend_all(lab)
            state = tenant_row(made.id).state
            if state == TenantState.DELETED:
                with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
                    lab.as_tenant(location)
            else:
                assert serves(lab, made.id)
            if not killed:
                break
            if state == target:
                _undo(lab, verb, made.id, made.slug)
        assert state == target
        assert step > 10


def _undo(lab: Laboratory, verb: str, tenant_id: UUID, slug: str) -> None:
    if verb == "delete":
        deletion.restore(lab.manager, tenant_id=tenant_id)
    else:
        deletion.delete(lab.manager, tenant_id=tenant_id, confirm=slug, grace=timedelta(days=30))
