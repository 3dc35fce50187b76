"""A tenant's own quota: given by the platform's administrators, kept by the tenant's database."""

import json
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select, update

from app.core import clock
from app.core.db import platform_session
from app.domains.audit.models import PlatformEntry
from app.domains.tenants.models import TenantDatabase
from app.settings import Settings
from app.tenancy.manager import current_manager
from tests.cast import Cast, House, Person, new_house, new_person
from tests.core.answers import refusal
from tests.core.live import environment_of
from tests.domains.documents.files import delete_for_good, send, upload
from tests.domains.documents.trail import told
from tests.paths import PROJECT

NONE = {"max_bytes": None, "max_documents": None}


@pytest.fixture
def owner(context: Flask) -> Person:
    return new_person(context, "Alice")


@pytest.fixture
def house(context: Flask, owner: Person) -> House:
    return new_house("own-quota", owner)


def quota(house: House) -> str:
    return f"/api/tenants/{house.id}/quota"


def trails(app: Flask, house: House) -> list[list[dict[str, Any]]]:
    """What the tenant's and the platform's say of it, in their order."""
    with app.app_context(), platform_session() as session:
        platform = session.scalars(
            select(PlatformEntry)
            .where(PlatformEntry.tenant_id == house.id)
            .where(PlatformEntry.type == "tenant.quota_changed")
            .order_by(PlatformEntry.id)
        )
        found = [entry.details for entry in platform]
    return [[details for _, details in told(app, house, str(house.id))], found]


def test_only_the_platform_gives_it(cast: Cast) -> None:
    before = cast.petra.get(quota(cast.acme)).get_json()
    for person in (cast.bob, cast.ursula, cast.ada, cast.alice):
        refusal(person.put(quota(cast.acme), json=NONE), 403, "forbidden")
    refusal(cast.mallory.put(quota(cast.acme), json=NONE), 404, "not_found")
    refusal(cast.mallory.get(quota(cast.acme)), 404, "not_found")
    after = cast.petra.get(quota(cast.acme)).get_json()
    assert [after[name] for name in NONE] == [before[name] for name in NONE]


def test_it_holds_from_then_on(cast: Cast, owner: Person, house: House, context: Flask) -> None:
    kept = upload(owner, house, b"12345")
    assert cast.petra.get(quota(house)).get_json() == NONE | {"used_bytes": 5, "used_documents": 1}
    tight = {"max_bytes": 4, "max_documents": None}
    answer = cast.petra.put(quota(house), json=tight)
    assert answer.get_json() == tight | {"used_bytes": 5, "used_documents": 1}
    usage = owner.get(f"/api/tenants/{house.id}/usage").get_json()
    assert (usage["max_bytes"], usage["max_documents"]) == (4, None)
    refusal(send(owner, house, b"1"), 409, "quota_exceeded")
    assert owner.get(f"{house.documents}/{kept['id']}/download").data == b"12345"
    assert delete_for_good(owner, house, kept["id"]) == 204
    assert send(owner, house, b"1234").status_code == 201
    assert cast.petra.put(quota(house), json=tight).status_code == 200
    cast.petra.put(quota(house), json={"max_bytes": None, "max_documents": 7})
    assert send(owner, house, b"12345").status_code == 201
    changes = [
        {"changes": {"max_bytes": [None, 4]}, "by_platform": True},
        {"changes": {"max_bytes": [4, None], "max_documents": [None, 7]}, "by_platform": True},
    ]
    assert trails(context, house) == [changes, changes], "what changed nothing is in neither"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"max_bytes": 1},
        NONE | {"max_bytes": -1},
        NONE | {"max_bytes": 1.5},
        NONE | {"max_bytes": "1"},
        NONE | {"max_bytes": True},
        NONE | {"max_documents": 2**53 + 1},
        NONE | {"used_bytes": 0},
    ],
)
def test_what_is_no_quota(cast: Cast, body: dict[str, Any]) -> None:
    refusal(cast.petra.put(quota(cast.acme), json=body), 422)


def test_whatever_the_tenants_state(cast: Cast, house: House, context: Flask) -> None:
    there = f"/api/tenants/{house.id}"
    limit = {"max_bytes": 0, "max_documents": 0}
    cast.petra.post(there + "/read-only")
    assert cast.petra.put(quota(house), json=NONE | {"max_bytes": 9}).status_code == 200
    assert trails(context, house)[0] == [{"changes": {"max_bytes": [None, 9]}, "by_platform": True}]
    cast.petra.post(there + "/suspend")
    assert cast.petra.put(quota(house), json=limit).status_code == 200
    cast.petra.post(there + "/resume")
    with platform_session() as session:
        session.execute(
            update(TenantDatabase)
            .where(TenantDatabase.tenant_id == house.id)
            .values(held_until=clock.now() + timedelta(minutes=5))
        )
    held = refusal(cast.petra.put(quota(house), json=NONE), 503, "tenant_held")
    assert held
    with platform_session() as session:
        session.execute(
            update(TenantDatabase)
            .where(TenantDatabase.tenant_id == house.id)
            .values(held_until=None)
        )
    assert cast.petra.get(quota(house)).get_json()["max_bytes"] == 0
    cast.petra.delete(there, query_string={"confirm": house.slug})
    refusal(cast.petra.put(quota(house), json=NONE), 409, "wrong_tenant_state")


def test_without_the_tenants_server_nothing_is_changed(
    cast: Cast, house: House, context: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = current_manager()
    monkeypatch.setitem(manager.server._address, "host", "/nowhere")
    refused = cast.petra.put(quota(house), json=NONE | {"max_bytes": 1})
    refusal(refused, 503, "tenant_server_unavailable")
    monkeypatch.undo()
    assert cast.petra.get(quota(house)).get_json()["max_bytes"] is None
    assert trails(context, house) == [[], []]


def test_by_script(house: House, settings: Settings) -> None:
    script = PROJECT / "scripts" / "set_quota.py"
    done = subprocess.run(
        [sys.executable, script, "--tenant-id", str(house.id), "--max-bytes", "10", "--json"],
        env=environment_of(settings),
        capture_output=True,
        check=True,
        timeout=120,
    )
    told = {"max_bytes": 10, "max_documents": None, "used_bytes": 0, "used_documents": 0}
    assert json.loads(done.stdout) == told
