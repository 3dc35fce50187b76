"""Creating a tenant over HTTP: ready in time or told later, and never more than have room."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select

from app.core import ids
from app.core.background import finished_within
from app.core.db import platform_session
from app.domains.tenants.models import Tenant, TenantState
from app.domains.tenants.service import reconciliation
from tests.cast import Person
from tests.core.answers import refusal
from tests.core.apps import another_app, elsewhere
from tests.domains.tenants.ledger import run_jobs, serves, tenants_by_slug
from tests.tenancy.laboratory import PATIENCE_SECONDS, Laboratory, until


def create(person: Person, slug: str | None = None) -> Any:
    slug = slug or f"t-{ids.new_id().hex[-12:]}"
    return person.post("/api/tenants", json={"name": "New", "slug": slug})


def living() -> int:
    gone = (TenantState.DELETED, TenantState.PURGING, TenantState.PURGED)
    with platform_session() as session:
        count = select(func.count()).select_from(Tenant).where(Tenant.state.not_in(gone))
        return session.scalar(count) or 0


def test_what_is_not_ready_in_time_is_told_later(lab: Laboratory, alice: Person) -> None:
    with another_app(lab.settings, tenant_creation_wait=0) as app:
        there = elsewhere(alice, app)
        answer = create(there)
        assert answer.status_code == 202
        told = answer.get_json()
        assert told["state"] in {"requested", "creating"}
        assert (told["active"], told["role"]) == (False, "owner")
        address = answer.headers["Location"]
        assert address == f"/api/tenants/{told['id']}"
        until(lambda: bool(there.get(address).get_json()["active"]), "the tenant")
        assert there.get(f"{address}/documents").status_code == 200


def test_what_fails_is_told_of_and_finished_later(lab: Laboratory, alice: Person) -> None:
    """Nothing has to be sent again: the slug is this tenant's, and a retry finds it."""
    with another_app(lab.settings) as app:
        server = app.extensions["tenancy"].server
        address, provisioner = server._address, server._provisioner
        server._address = {"host": "/nowhere", "connect_timeout": 2}
        server._provisioner = {"user": "nobody"}
        there = elsewhere(alice, app)
        answer = create(there, "unlucky-one")
        assert answer.status_code == 202
        told = answer.get_json()
        assert (told["state"], told["failure"]) == (
            "failed",
            "The tenants' server cannot be reached.",
        )
        refusal(create(there, "unlucky-one"), 409, "slug_taken")
        server._address, server._provisioner = address, provisioner
        assert there.post(f"/api/tenants/{told['id']}/retry").get_json()["active"] is True


def test_what_nobody_waits_for_is_finished_by_another_process(
    lab: Laboratory, alice: Person
) -> None:
    with another_app(lab.settings, tenant_creation_wait=0) as app:
        server = app.extensions["tenancy"].server
        server._address = {"host": "/nowhere", "connect_timeout": 2}
        server._provisioner = {"user": "nobody"}
        told = create(elsewhere(alice, app), "left-alone").get_json()
        until(lambda: tenants_by_slug()["left-alone"][0].state == "failed", "the failure")
    [tenant] = tenants_by_slug()["left-alone"]
    assert str(tenant.id) == told["id"]
    run_jobs(lab, tenant.id)
    assert alice.get(f"/api/tenants/{tenant.id}").get_json()["active"] is True
    assert serves(lab, tenant.id)


def test_exactly_as_many_as_there_is_room_for(lab: Laboratory, alice: Person) -> None:
    with another_app(lab.settings, max_tenants=living() + 3, tenant_creation_wait=30) as app:
        there = elsewhere(alice, app)
        with ThreadPoolExecutor(32) as pool:
            answers = list(pool.map(lambda _: create(there), range(32), timeout=120))
        told = Counter((each.status_code, each.get_json().get("code")) for each in answers)
        assert told == {(201, None): 3, (409, "tenant_limit_reached"): 29}
        _replace_one(lab, there)


def _replace_one(lab: Laboratory, person: Person) -> None:
    """A deleted tenant makes room, and cannot come back where that was taken."""
    first = person.get("/api/tenants").get_json()["items"][-1]
    address = f"/api/tenants/{first['id']}"
    assert person.delete(address, query_string={"confirm": first["slug"]}).status_code == 200
    assert create(person).status_code == 201
    refusal(create(person), 409, "tenant_limit_reached")
    refusal(person.post(address + "/restore"), 409, "tenant_limit_reached")
    assert person.get(address).get_json()["state"] == "deleted"
    assert reconciliation.find_faults(lab.manager) == []


def test_no_room_at_all(lab: Laboratory, alice: Person) -> None:
    with another_app(lab.settings, max_tenants=0) as app:
        refusal(create(elsewhere(alice, app)), 409, "tenant_limit_reached")


def test_who_waits_gets_the_error(context: Flask) -> None:
    def fail() -> None:
        raise TimeoutError("the work's own")

    with pytest.raises(TimeoutError, match="the work's own"):
        finished_within(PATIENCE_SECONDS, fail)
    assert finished_within(PATIENCE_SECONDS, lambda: None)
