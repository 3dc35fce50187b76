"""The trails over HTTP: filtered, paged, exported, and themselves watched."""

import csv
import io
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import select

from app.core import clock, events, ids
from app.core.db import main_session, platform_session
from app.core.events import Origin
from app.domains.audit.models import PlatformEntry
from app.domains.audit.service import exporting, sealing
from app.domains.audit.service.checkpoints import Checkpoint, Statement, Verifier
from app.integrations.storage import current_storage
from app.settings import current_settings
from app.tenancy.manager import current_manager
from tests.cast import Cast, House, Person, new_house, new_person
from tests.core.answers import refusal
from tests.core.work import work
from tests.domains.audit.conftest import PlanDrawn


@pytest.fixture
def house(context: Flask, cast: Cast) -> House:
    """Alice's, with Ada and Bob; nobody else writes into its trail."""
    return new_house("acme", cast.alice, admin=cast.ada, viewer=cast.bob)


def draw(house: House, colour: str, origin: Origin | None = None) -> str:
    plan = ids.new_id()
    with (
        events.originating(origin or Origin()),
        current_manager().tenant_db_session(house.database) as session,
    ):
        events.record(session, PlanDrawn(plan_id=plan, colour=colour))
    return str(plan)


def read(person: Person, house: House, query: str = "") -> list[dict[str, Any]]:
    answer = person.get(f"/api/tenants/{house.id}/audit?limit=200&{query}")
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.get_json()["items"]
    return items


def targets(items: list[dict[str, Any]]) -> list[str]:
    return [each["target"] for each in items]


def test_a_tenants_trail_is_its_own_and_what_the_platform_knows_of_it(
    house: House, cast: Cast
) -> None:
    plan = draw(house, "blue")
    path = f"/api/tenants/{house.id}/users/{cast.bob.user_id}"
    assert cast.alice.patch(path, json={"role": "user"}).status_code == 200
    entries = read(cast.ada, house)
    assert [(each["type"], each["trail"]) for each in entries[:2]] == [
        ("user.role_changed", "platform"),
        ("plan.drawn", "tenant"),
    ]
    assert entries[0]["details"] | {"tenant_id": None} == {
        "tenant_id": None,
        "former": "viewer",
        "role": "user",
    }
    assert entries[0]["user_id"] == str(cast.alice.user_id)
    assert entries[0]["session_id"]
    assert entries[0]["address"] == "127.0.0.1"
    assert entries[0]["request_id"]
    assert entries[1]["target"] == plan
    pages, cursor = [], ""
    for _ in range(len(entries)):
        answer = cast.ada.get(f"/api/tenants/{house.id}/audit?limit=2{cursor}").get_json()
        pages += [each["id"] for each in answer["items"] if each["type"] != "audit.read"]
        if answer["next_cursor"] is None:
            break
        cursor = f"&cursor={answer['next_cursor']}"
    assert pages == [each["id"] for each in entries]
    assert plan not in targets(read(cast.mallory, cast.globex))


def test_filters_narrow_down_together(house: House, cast: Cast) -> None:
    ursula, before = cast.ursula.user_id, clock.now()
    mine = draw(house, "blue", Origin(user_id=ursula))
    for_me = draw(house, "red", Origin(on_behalf_of=ursula, task="plans.draw"))
    other = draw(house, "green")
    after = clock.now() + timedelta(seconds=1)
    assert targets(read(cast.ada, house, f"actor={ursula}")) == [for_me, mine]
    assert targets(read(cast.ada, house, "action=plan.drawn")) == [other, for_me, mine]
    assert targets(read(cast.ada, house, "action=plan.*&action=tenant.created"))[:3] == [
        other,
        for_me,
        mine,
    ]
    assert read(cast.ada, house, "action=pla.*") == []
    assert targets(read(cast.ada, house, f"target={mine}")) == [mine]
    assert read(cast.ada, house, f"target={mine}&actor={cast.alice.user_id}") == []
    period = f"since={_stamp(before)}&until={_stamp(after)}"
    assert set(targets(read(cast.ada, house, f"{period}&action=plan.*"))) == {mine, for_me, other}
    assert read(cast.ada, house, f"until={_stamp(before)}&action=plan.*") == []
    read_of = read(cast.ada, house, "action=audit.read")
    assert read_of[0]["details"]["filters"]["actions"] == ["plan.*"]
    assert (read_of[0]["user_id"], read_of[-1]["details"]["entries"]) == (
        str(cast.ada.user_id),
        2,
    )


def _stamp(time: Any) -> str:
    return str(time.isoformat()).replace("+", "%2B")


@pytest.mark.parametrize(
    "query",
    [
        "actor=ada",
        "action=drop",
        "action=plan.%25",
        "action=*",
        "target=",
        "since=yesterday",
        "since=2026-11-24T00:00:00",
        "since=2026-11-24T00:00:00Z&until=2026-11-23T00:00:00Z",
        "limit=0",
        "cursor=mine",
        "colour=blue",
    ],
)
@pytest.mark.parametrize("path", ["/api/tenants/{id}/audit", "/api/admin/audit"])
def test_wrong_filters(cast: Cast, path: str, query: str) -> None:
    person = cast.petra if "admin" in path else cast.ada
    answer = person.get(f"{path.format(id=cast.acme.id)}?{query}")
    assert (answer.status_code, answer.get_json()["code"]) == (422, "invalid_payload")


def test_an_export_is_whole_and_harmless(
    house: House, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "_BATCH", 3)
    path = f"/api/tenants/{house.id}/audit/export"
    formulas = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "harmless"]
    plans = [draw(house, each, Origin(request_id=each)) for each in formulas]
    expected = list(reversed(read(cast.ada, house)))
    lines = cast.ada.get(path)
    assert lines.headers["Content-Type"] == "application/jsonl"
    assert "attachment" in lines.headers["Content-Disposition"]
    exported = [json.loads(line) for line in lines.text.splitlines()]
    before_reading = [each for each in exported if each["type"] != "audit.read"]
    assert [each["id"] for each in before_reading[: len(expected)]] == [
        each["id"] for each in expected
    ]
    assert [each for each in exported if each["target"] == plans[0]] == [
        each for each in expected if each["target"] == plans[0]
    ]
    answer = cast.ada.get(path + "?format=csv&action=plan.*")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert [row["target"] for row in rows] == plans
    assert [row["request_id"] for row in rows] == [f"'{each}" for each in formulas[:-1]] + [
        "harmless"
    ]
    assert json.loads(rows[0]["details"]) == {"colour": "=1+1", "tenant_id": None}
    told = read(cast.ada, house, "action=audit.exported")
    assert [each["details"]["format"] for each in told] == ["csv", "jsonl"]
    nothing = cast.ada.get(path + "?format=csv&action=never.seen").text
    assert nothing.splitlines() == [",".join(rows[0])]
    assert cast.ada.get(path + "?format=xlsx").status_code == 422


def test_an_export_needs_no_more_memory_for_more_entries(
    house: House, cast: Cast, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads a batch, sends it, and only then reads the next; and the first before it answers."""
    monkeypatch.setattr(exporting, "_BATCH", 2)
    for _ in range(7):
        draw(house, "blue")
    path = f"/api/tenants/{house.id}/audit/export?action=plan.*"
    with work(app) as done:
        answer = app.test_client().get(path, headers=cast.ada.headers, buffered=False)
        asked = len(done)
        pieces = iter(answer.iter_encoded())
        assert next(pieces)
        assert len(done) == asked
        assert len(list(pieces)) == 6
        answer.close()


def test_where_the_platforms_people_work_is_no_tenants_to_know(cast: Cast, house: House) -> None:
    path = f"/api/tenants/{house.id}"
    assert cast.petra.post(f"{path}/suspend", json={"reason": "unpaid"}).status_code == 200
    assert cast.petra.post(f"{path}/resume").status_code == 200
    query = "action=tenant.suspended&action=tenant.resumed"
    [_, shown] = cast.alice.get(f"{path}/audit?{query}").get_json()["items"]
    assert (shown["type"], shown["address"]) == ("tenant.suspended", None)
    assert shown["user_id"] == str(cast.petra.user_id)
    assert shown["details"]["by_platform"] is True
    for form in ("jsonl", "csv"):
        file = cast.alice.get(f"{path}/audit/export?{query}&format={form}").text
        assert shown["id"] in file
        assert "127.0.0.1" not in file
    [_, whole] = cast.petra.get(f"/api/admin/audit?{query}&tenant_id={house.id}").get_json()[
        "items"
    ]
    assert (whole["id"], whole["address"]) == (shown["id"], "127.0.0.1")
    mine = f"action=audit.read&actor={cast.alice.user_id}"
    own = cast.alice.get(f"{path}/audit?{mine}").get_json()["items"]
    assert {each["address"] for each in own} == {"127.0.0.1"}


def test_the_platforms_trail_is_its_administrators(context: Flask, cast: Cast) -> None:
    plan = ids.new_id()
    with main_session(tenant_id=cast.globex.id) as session:
        events.record(session, PlanDrawn(plan_id=plan, colour="blue", tenant_id=cast.globex.id))
    path = f"/api/admin/audit?target={plan}"
    [entry] = cast.petra.get(path).get_json()["items"]
    assert (entry["type"], entry["tenant_id"]) == ("plan.drawn", str(cast.globex.id))
    assert cast.petra.get(f"{path}&tenant_id={cast.acme.id}").get_json()["items"] == []
    exported = cast.petra.get(f"/api/admin/audit/export?target={plan}").text.splitlines()
    assert [json.loads(line)["id"] for line in exported] == [entry["id"]]
    told = cast.petra.get(f"/api/admin/audit?actor={cast.petra.user_id}&limit=4").get_json()
    assert [each["type"] for each in told["items"][:2]] == ["audit.exported", "audit.read"]
    for person in (cast.sam, cast.mallory, cast.alice):
        for route in ("", "/export", "/checkpoints"):
            assert refusal(person.get(f"/api/admin/audit{route}"), 403)["code"] == "forbidden"


def test_checkpoints_can_be_taken_home(house: House, cast: Cast) -> None:
    draw(house, "blue")
    settings, manager = current_settings(), current_manager()
    sealing.seal_tenant(manager, settings, tenant_id=house.id)
    sealing.seal_platform(current_storage(), settings)
    path = f"/api/tenants/{house.id}/audit"
    [taken] = cast.ada.get(f"{path}/checkpoints").get_json()["items"]
    checkpoint = Checkpoint(
        statement=Statement(**taken["statement"]), key=taken["key"], signature=taken["signature"]
    )
    assert Verifier.of(settings).is_genuine(checkpoint)
    [entry] = cast.ada.get(f"{path}?action=plan.drawn").get_json()["items"]
    assert (entry["position"], entry["hash"]) == (1, taken["statement"]["hash"])
    assert "audit.sealed" not in {each["type"] for each in read(cast.ada, house)}
    assert len(read(cast.ada, house, "action=audit.sealed")) == 1
    platforms = cast.petra.get("/api/admin/audit/checkpoints").get_json()["items"]
    assert platforms[0]["statement"]["trail"] == "platform"


# Refusals. The cast's may be recorded no more: they have been refused too often by now.


@pytest.fixture
def people(context: Flask, cast: Cast) -> Cast:
    ada, bob, mallory, sam = (
        new_person(context, name) for name in ("Ada", "Bob", "Mallory", "Sam")
    )
    return replace(cast, ada=ada, bob=bob, mallory=mallory, sam=sam)


def refused(person: Person) -> list[PlatformEntry]:
    query = select(PlatformEntry).where(
        PlatformEntry.user_id == person.user_id, PlatformEntry.type == "access.refused"
    )
    with platform_session() as session:
        return list(session.scalars(query.order_by(PlatformEntry.id)))


def test_refusals_are_recorded(people: Cast) -> None:
    """A member's in sight of the tenant's administrators; a stranger's for the platform alone."""
    house = new_house("acme", people.alice, admin=people.ada, viewer=people.bob)
    path = f"/api/tenants/{house.id}/audit"
    assert people.bob.get(path).status_code == 403
    assert people.mallory.get(path).status_code == 404
    assert people.mallory.get(f"/api/tenants/{ids.new_id()}/audit").status_code == 404
    [told] = refused(people.bob)
    assert told.details == {
        "method": "GET",
        "permission": "audit:read",
        "code": "forbidden",
        "named": str(house.id),
        "tenant_id": str(house.id),
    }
    assert told.target == "/api/tenants/<tenant:tenant_id>/audit"
    assert (told.tenant_id, told.address) == (house.id, "127.0.0.1")
    assert told.session_id
    assert told.request_id
    first, second = refused(people.mallory)
    assert (first.tenant_id, first.details["named"]) == (None, str(house.id))
    assert (second.tenant_id, second.details["code"]) == (None, "not_found")
    entries = read(people.ada, house, "action=access.refused")
    assert [UUID(each["id"]) for each in entries] == [told.id]


def test_a_verbs_refusal_is_recorded_and_what_it_did_is_not(people: Cast) -> None:
    """Ada is no owner, and so makes nobody one; that is for the verb to know."""
    house = new_house("acme", people.alice, admin=people.ada, viewer=people.bob)
    path = f"/api/tenants/{house.id}/users/{people.bob.user_id}"
    answer = people.ada.patch(path, json={"role": "owner"})
    assert answer.status_code == 403
    [told] = refused(people.ada)
    assert (told.details["code"], told.tenant_id) == (answer.get_json()["code"], house.id)
    assert read(people.alice, house, "action=user.role_changed") == []


def test_who_hammers_does_not_fill_the_trail(people: Cast) -> None:
    sam = people.sam
    for _ in range(110):
        assert sam.get("/api/admin/audit/checkpoints").status_code == 403
    assert len(refused(sam)) == 100
    query = select(PlatformEntry).where(
        PlatformEntry.user_id == sam.user_id, PlatformEntry.type == "attempt.throttled"
    )
    with platform_session() as session:
        assert [each.details["reason"] for each in session.scalars(query)] == ["refusals-account"]
