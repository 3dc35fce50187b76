"""An event is written with its change or not at all, and tells others no more than it should."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from pydantic import SecretStr
from sqlalchemy import select, text
from sqlalchemy.exc import ProgrammingError

from app.core import ids
from app.core.catalogue import TOPICS, catalogue, shrunk
from app.core.db import main_session
from app.core.errors import Conflict
from app.core.events import record
from app.core.marks import Marks
from app.core.redis import connect
from app.domains.outbox.models import TenantOutgoing
from app.domains.outbox.service.recording import Recorder
from app.settings import Settings
from app.tenancy.manager import current_manager
from embedded.ports import free_port
from tests.cast import Cast, House
from tests.domains.outbox.conftest import PlanSold, outgoing_of, sell, unsent
from tests.paths import PROJECT
from tests.tenancy.laboratory import until

PROMISED = {
    "tenant.created.v1",
    "tenant.suspended.v1",
    "tenant.deleted.v1",
    "user.invited.v1",
    "user.role_changed.v1",
    "session.revoked.v1",
    "document.uploaded.v1",
    "document.deleted.v1",
    "document.restored.v1",
    "document.link_created.v1",
    "file.process.v1",
    "file.processed.v1",
}


def test_an_event_is_written_beside_its_change(context: Flask, house: House) -> None:
    plan = ids.new_id()
    with current_manager().tenant_db_session(house.database) as session:
        record(session, PlanSold(plan_id=plan, number=7))
    with current_manager().tenant_db_session(house.database) as session:
        (row,) = session.scalars(select(TenantOutgoing))
    assert (row.type, row.subject, row.sent_at) == ("plan.sold.v1", str(plan), None)
    assert row.data == {"plan_id": str(plan), "number": 7}  # and not who bought it
    assert row.id.version == 7


def test_what_is_rolled_back_was_never_told(context: Flask, house: House) -> None:
    def fail() -> None:
        with current_manager().tenant_db_session(house.database) as session:
            record(session, PlanSold(plan_id=ids.new_id()))
            raise Conflict("Not now.")

    with pytest.raises(Conflict):
        fail()
    assert unsent(house) == []


def test_the_main_database_has_an_outbox_of_its_own(context: Flask, cast: Cast) -> None:
    with main_session(tenant_id=cast.acme.id) as session:
        record(session, PlanSold(plan_id=(plan := ids.new_id())))
    (row,) = [each for each in outgoing_of(cast.acme.id) if each.subject == str(plan)]
    assert row.key == str(cast.acme.id)


def test_the_application_cannot_read_what_others_told(context: Flask) -> None:
    for statement in (
        "SELECT 1 FROM platform_outbox",
        "SELECT 1 FROM platform_inbox",
        "UPDATE platform_outbox SET sent_at = now()",
        "DELETE FROM platform_outbox",
        "INSERT INTO undelivered_events (id) VALUES (gen_random_uuid())",
    ):
        with pytest.raises(ProgrammingError, match="permission denied"), main_session() as session:
            session.execute(text(statement))


def test_a_lane_is_marked_before_the_commit_and_after_it(
    context: Flask, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, setting = [], Marks.setting

    @contextmanager
    def watched(marks: Marks, lane: str) -> Iterator[None]:
        with setting(marks, lane):
            yield
        assert lane in marks.read()[0]
        seen.append((lane, unsent(house)))
        marks.clear(lane, marks.read()[0][lane])

    monkeypatch.setattr(Marks, "setting", watched)
    with current_manager().tenant_db_session(house.database) as session:
        record(session, PlanSold(plan_id=ids.new_id(), number=1))
        record(session, PlanSold(plan_id=ids.new_id(), number=2))
    assert seen == [(str(house.id), []), (str(house.id), [1, 2])]


def test_a_mark_that_was_set_meanwhile_is_not_cleared(context: Flask) -> None:
    marks: Marks = context.extensions["marks"]
    lane = str(ids.new_id())
    marks.set(lane)
    former = marks.read()[0][lane]
    marks.set(lane)
    marks.clear(lane, former)
    newer = marks.read()[0][lane]
    assert newer != former
    marks.clear(lane, newer)
    assert lane not in marks.read()[0]


def test_without_redis_the_change_succeeds(
    context: Flask, house: House, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = SecretStr(f"redis://127.0.0.1:{free_port()}/0")
    away = connect(settings.model_copy(update={"redis_url": nobody}), timeout=1)
    asked, marks = [], Marks(away, "test")
    plainly = away.hset

    def count(*arguments: Any) -> Any:
        asked.append(1)
        return plainly(*arguments)

    monkeypatch.setattr(away, "hset", count)
    monkeypatch.setitem(context.extensions, "event_recorders", (Recorder(marks),))
    sell(house, 1, 2, 3)
    assert unsent(house) == [1, 2, 3]
    assert len(asked) == 1  # it is not asked again at once: a request would wait for it


def test_a_connection_that_dies_under_the_mark_is_replaced(context: Flask) -> None:
    marks: Marks = context.extensions["marks"]
    lane = str(ids.new_id())
    with marks.setting(lane):
        until(lambda: lane in marks.read()[0], "the mark")
        marks.clear(lane, marks.read()[0][lane])  # as if it had died on its way
        for connection in [*marks._redis.connection_pool._in_use_connections]:
            connection.read_response()
            connection._sock.shutdown(socket.SHUT_RDWR)
    found = marks.read()[0]
    marks.clear(lane, found[lane])
    assert lane not in marks.read()[0]


def test_every_promised_type_is_in_the_catalogue() -> None:
    assert catalogue().keys() >= PROMISED
    assert {told.topic for told in catalogue().values()} <= set(TOPICS)


@pytest.mark.parametrize("name", [name for name in catalogue() if not name.startswith("plan.")])
def test_schemas_only_grow(name: str) -> None:
    told = catalogue()[name]
    written = json.loads((PROJECT / "docs" / "events" / f"{name}.json").read_text())
    assert not shrunk(written, told.schema)
    assert written == told.schema, "run scripts/generate_docs.py"
    assert told.schema["properties"].keys().isdisjoint({"email", "token", "password", "name"}) or (
        name == "tenant.created.v1"
    )


def test_no_written_schema_was_forgotten() -> None:
    written = {path.stem for path in Path(PROJECT / "docs" / "events").glob("*.json")}
    assert written <= catalogue().keys()


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"properties": {}, "required": []}, "size is gone"),
        ({"properties": {"size": {"type": "string"}}, "required": ["size"]}, "size is another"),
        ({"properties": {"size": {"type": "integer"}}, "required": []}, "size may be missing"),
    ],
)
def test_a_smaller_schema_is_noticed(change: dict[str, object], fault: str) -> None:
    size, name = {"type": "integer"}, {"type": "string"}
    old = {"properties": {"size": size}, "required": ["size"]}
    assert shrunk(old, change) == [fault]
    more = {"properties": {"size": size, "name": name}, "required": ["size"]}
    assert shrunk(old, more) == []


def test_the_catalogue_over_http(context: Flask, cast: Cast) -> None:
    told = cast.bob.get("/api/event-types").get_json()["items"]
    (uploaded,) = [each for each in told if each["type"] == "document.uploaded.v1"]
    assert uploaded["schema"]["required"] == ["document_id", "size"]
    assert uploaded["topic"] == "events"
