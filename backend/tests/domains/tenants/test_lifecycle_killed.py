"""kill -9 at every step of a tenant's life: the reconciler makes it one tenant, or none.

A step is an exchange with a server: a statement, a COMMIT. The process dies just before it, or
with the statement on its way and the answer not read.
"""

from collections.abc import Iterator
from itertools import count
from uuid import UUID

import pytest
from sqlalchemy import select, text

from app.core.db import platform_session
from app.domains.tenants import queries
from app.domains.tenants.errors import SlugTaken
from app.domains.tenants.models import Tenant, TenantState
from app.domains.tenants.service import lifecycle, reconciliation
from app.domains.tenants.service.directory import TenantRegistry
from app.tenancy.inspection import take_inventory
from app.tenancy.provisioning import TemplateMissing
from tests.cast import Person, new_person
from tests.tenancy.laboratory import Laboratory, laboratory, until
from tests.tenancy.processes import Understudy, understudy

pytestmark = pytest.mark.parametrize("in_flight", [False, True], ids=["before", "in-flight"])


@pytest.fixture(scope="module")
def lab(
    server_urls: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Laboratory]:
    with laboratory(server_urls, tmp_path_factory.mktemp("killed")) as made, made.app.app_context():
        yield made


@pytest.fixture(scope="module")
def doomed(lab: Laboratory) -> Iterator[Understudy]:
    with understudy(lab) as process:
        yield process


@pytest.fixture(scope="module")
def alice(lab: Laboratory) -> Person:
    return new_person(lab.app, "Alice")


def tenants_by_slug() -> dict[str, list[Tenant]]:
    with platform_session() as session:
        found: dict[str, list[Tenant]] = {}
        for tenant in session.scalars(select(Tenant)):
            if tenant.state != TenantState.DELETED:
                found.setdefault(tenant.slug, []).append(tenant)
        return found


def mend_all(lab: Laboratory) -> None:
    """One run of the reconciler; afterwards it finds nothing, and neither do we."""
    for finding in reconciliation.find_faults(lab.manager):
        mended = reconciliation.mend(lab.manager, finding)
        assert "failed" not in (mended.outcome or ""), mended
    assert reconciliation.find_faults(lab.manager) == []
    with platform_session() as session:
        ledger = {name for name, _state, _tenant in queries.ledger(session)}
    inventory = take_inventory(lab.manager.server)
    assert inventory.databases == inventory.roles == ledger
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


def serves(lab: Laboratory, tenant_id: UUID) -> bool:
    location = TenantRegistry().locate_tenant(tenant_id)
    with lab.manager.tenant_db_session(location) as session:
        assert session.scalar(text("SELECT count(*) FROM documents")) == 0
        session.execute(text("DELETE FROM files"))
    return True


def test_killed_while_it_is_created(
    lab: Laboratory, doomed: Understudy, alice: Person, in_flight: bool
) -> None:
    slugs = []
    for step in count(1):
        slugs.append(f"created-{step}-{in_flight}".lower())
        arguments = {"name": "Acme", "slug": slugs[-1], "owner_id": alice.user_id}
        if not doomed.dies("create", at=step, in_flight=in_flight, **arguments):
            break
    assert len(slugs) > 25
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


def test_killed_while_it_is_deleted(
    lab: Laboratory, doomed: Understudy, alice: Person, in_flight: bool
) -> None:
    made = []
    for step in count(1):
        slug = f"deleted-{step}-{in_flight}".lower()
        made.append(
            lifecycle.create_tenant(lab.manager, name="A", slug=slug, owner_id=alice.user_id)
        )
        if not doomed.dies("delete", at=step, in_flight=in_flight, tenant_id=made[-1].id):
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
