"""Stored files are looked into; their text is found, safely shown, and nobody else's."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select, text

from app.core.db import platform_session
from app.domains.documents.models import File, Processing
from app.domains.documents.service import processing
from app.domains.jobs.models import Job
from app.domains.outbox.models import TenantOutgoing
from app.domains.outbox.service.delivery import Delivery
from app.domains.outbox.service.relaying import InProcess
from app.integrations.extraction import Limits
from app.settings import Settings
from app.tenancy.manager import current_manager
from tests.cast import Cast, House, Person, new_house, new_person
from tests.core.answers import refusal
from tests.domains.documents import office
from tests.domains.documents.files import upload
from tests.domains.outbox.conftest import Kept, outboxes_into

Process = Callable[..., None]


@pytest.fixture(scope="module")
def alice(app: Flask) -> Person:
    with app.app_context():
        return new_person(app, "Alice")


@pytest.fixture
def house(context: Flask, alice: Person) -> House:
    return new_house("acme", alice)


@pytest.fixture
def process(context: Flask, settings: Settings) -> Process:
    """Does what follows from a tenant's events, each of which comes so many times."""
    delivery = Delivery(settings, open_tenant=context.extensions["open_tenant"])

    def process(house: House, *, times: int = 1) -> None:
        told = Kept()
        outboxes_into(context, told, batch=1000).send(str(house.id))
        for message in told.messages * times:
            InProcess(delivery.receive_all).publish([message])
        run_jobs(context, house)

    return process


def run_jobs(app: Flask, house: House) -> int:
    """What a worker does that is told of them; how many there were."""
    with platform_session() as session:
        waiting = session.scalars(
            select(Job.id)
            .where(Job.tenant_id == house.id, Job.name == "documents.process_file")
            .where(Job.state == "waiting")
        ).all()
    for job_id in waiting:
        app.extensions["celery"].tasks["jobs.run"].apply(kwargs={"job_id": str(job_id)}).get()
    return len(waiting)


def found(person: Person, house: House, q: str, **query: object) -> list[dict[str, Any]]:
    answer = person.get(house.documents, query_string={"q": q, **query})
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.get_json()["items"]
    return items


def names(person: Person, house: House, q: str, **query: object) -> list[str]:
    return [each["name"] for each in found(person, house, q, **query)]


def state(person: Person, house: House, document: dict[str, Any]) -> list[object]:
    shown = person.get(f"{house.documents}/{document['id']}").get_json()
    return [shown["processing"], shown["processing_reason"], shown["detected_type"]]


def told(house: House) -> list[dict[str, Any]]:
    with current_manager().tenant_db_session(house.database) as session:
        statement = select(TenantOutgoing).where(TenantOutgoing.type == "file.processed.v1")
        return [row.data for row in session.scalars(statement.order_by(TenantOutgoing.position))]


def test_mallory_finds_nothing_and_bob_what_everybody_does(
    cast: Cast, alice: Person, house: House, process: Process
) -> None:
    upload(alice, house, b"the plans of acme")
    process(house)
    assert len(found(alice, house, "plans")) == 1
    refusal(cast.mallory.get(house.documents, query_string={"q": "plans"}), 404, "not_found")
    assert names(cast.mallory, cast.globex, "plans of acme") == []


def test_every_kind_is_found_by_its_words(alice: Person, house: House, process: Process) -> None:
    kinds = {
        "text": "Zürich plans".encode(),
        "pdf": office.pdf("Z\u00fcrich budget"),
        "word": office.word("Zürich offer", header="confidential"),
        "excel": office.excel("Zürich sums"),
        "powerpoint": office.powerpoint("Zürich roadmap", notes="whispered"),
        "opendocument": office.opendocument("Zürich minutes"),
        "picture": b"\x89PNG\r\n\x1a\n" + bytes(50),
    }
    made = {
        name: upload(alice, house, content, name, "application/x-whatever")
        for name, content in kinds.items()
    }
    assert {state(alice, house, each)[0] for each in made.values()} == {"pending"}
    assert found(alice, house, "zürich") == []
    process(house)
    assert set(names(alice, house, "ZÜRICH")) == set(kinds) - {"picture"}
    for q, name in {
        "budget": "pdf",
        "confidential": "word",
        '"zürich offer"': "word",
        "4711": "excel",
        "second": "excel",
        "whispered or nowhere": "powerpoint",
        "minutes": "opendocument",
        "zürich -offer -sums -roadmap -minutes -budget": "text",
    }.items():
        assert names(alice, house, q) == [name], q
    assert state(alice, house, made["pdf"]) == ["processed", None, "application/pdf"]
    assert state(alice, house, made["picture"]) == ["unsupported", "unsupported", "image/png"]
    again = upload(alice, house, kinds["pdf"], "the same")
    assert state(alice, house, again)[0] == "processed"
    assert set(names(alice, house, "budget")) == {"pdf", "the same"}
    alice.delete(f"{house.documents}/{made['pdf']['id']}")
    assert names(alice, house, "budget") == ["the same"]


def test_a_snippet_is_safe_html_around_what_was_found(
    alice: Person, house: House, process: Process
) -> None:
    page = "<i onclick=x> alarm('x') " + "before " * 20_000 + 'R&D "plans" <b\x02\x03 after'
    upload(alice, house, page.encode())
    process(house)
    (only,) = found(alice, house, "plans")
    assert "R&amp;D &quot;<mark>plans</mark>&quot;" in only["snippet"]
    (only,) = found(alice, house, "alarm")
    assert "<mark>alarm</mark>(&#x27;x&#x27;)" in only["snippet"]
    assert only["snippet"].replace("<mark>", "").replace("</mark>", "").count("<") == 0
    (only,) = alice.get(house.documents).get_json()["items"]
    assert only["snippet"] is None


def test_pages_follow_each_other_in_the_order_of_relevance(
    alice: Person, house: House, process: Process
) -> None:
    for number, content in enumerate(
        ("plans", "plans and more plans", "other", "plans plans plans", "some plans", "any plans")
    ):
        upload(alice, house, content.encode(), f"{number}.txt")
    process(house)
    whole = found(alice, house, "plans")
    assert [each["name"] for each in whole[:2]] == ["3.txt", "1.txt"]
    assert {each["name"] for each in whole} == {f"{number}.txt" for number in (0, 1, 3, 4, 5)}
    for query in ({}, {"order": "asc"}, {"sort": "name"}, {"sort": "created"}):
        expected = names(alice, house, "plans", **query)
        pieces, cursor = [], None
        for _ in range(4):
            asked = {"q": "plans", "limit": 2, **query} | ({"cursor": cursor} if cursor else {})
            page = alice.get(house.documents, query_string=asked).get_json()
            pieces += [each["name"] for each in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert pieces == expected, query
    with current_manager().tenant_db_session(house.database) as session:
        session.execute(text("SET LOCAL enable_seqscan = off"))
        plan = session.scalars(
            text(
                "EXPLAIN SELECT file_id FROM file_texts"
                " WHERE words @@ websearch_to_tsquery('simple', 'plans')"
            )
        ).all()
    assert any("ix_file_texts_words" in line for line in plan)


@pytest.mark.parametrize(
    ("query", "field"),
    [("q=", "q"), ("q=" + "x" * 501, "q"), ("sort=relevance", "sort"), ("q=a&cursor=x", "cursor")],
)
def test_what_cannot_be_asked(cast: Cast, query: str, field: str) -> None:
    answer = cast.bob.get(f"{cast.acme.documents}?{query}")
    assert field in refusal(answer, 422)["errors"]


@pytest.mark.parametrize("q", ["!!", "'", ":*", "\\", "%", "a & | b", '"', "-", "or", "🦆"])
def test_whatever_is_asked_is_words(cast: Cast, q: str) -> None:
    assert found(cast.bob, cast.acme, q) is not None


def test_events_that_come_twice_have_one_effect(
    context: Flask, alice: Person, house: House, process: Process
) -> None:
    document = upload(alice, house, b"plans")
    process(house, times=2)
    assert run_jobs(context, house) == 0
    (only,) = told(house)
    assert only["document_ids"] == [document["id"]]
    assert (only["outcome"], only["detected_type"]) == ("processed", "text/plain")
    with current_manager().tenant_db_session(house.database) as session:
        file_id = session.scalars(select(File.id)).one()
        open_session = partial(current_manager().tenant_db_session, session.location)
    context.extensions["celery"].tasks["documents.process_file"].apply(
        kwargs={"file_id": str(file_id)}, headers={"tenant": str(house.id)}
    ).get()
    assert len(told(house)) == 1
    assert sum(processing.process_again(open_session, states=[Processing.PROCESSED])) == 1
    assert run_jobs(context, house) == 1
    assert len(told(house)) == 2
    assert names(alice, house, "plans") == ["plans.txt"]


def test_bytes_that_are_gone_or_others_are_a_failure(
    alice: Person, house: House, process: Process, settings: Settings
) -> None:
    made = {name: upload(alice, house, name.encode(), name) for name in ("lost", "other", "whole")}
    folder = settings.storage_path / "tenants" / house.database / "files"
    stored = {path.read_bytes(): path for path in folder.rglob("*") if path.is_file()}
    stored[b"lost"].unlink()
    stored[b"other"].chmod(0o600)
    stored[b"other"].write_bytes(b"OTHER")
    process(house)
    assert state(alice, house, made["lost"]) == ["failed", "missing", None]
    assert state(alice, house, made["other"]) == ["failed", "differs", None]
    assert state(alice, house, made["whole"])[0] == "processed"


def test_a_text_of_more_words_than_an_index_takes_is_cut(
    alice: Person, house: House, process: Process
) -> None:
    content = " ".join(f"{number:x}-{number:x}" for number in range(10**5, 10**5 + 38_000))
    document = upload(alice, house, content.encode())
    process(house)
    assert state(alice, house, document)[0] == "processed"
    assert len(found(alice, house, "186a0")) == 1


def test_what_is_larger_than_that_is_not_searched(
    context: Flask, alice: Person, house: House, settings: Settings
) -> None:
    document = upload(alice, house, b"plans")
    with current_manager().tenant_db_session(house.database) as session:
        file_id = session.scalars(select(File.id)).one()
        open_session = partial(current_manager().tenant_db_session, session.location)
    processing.process_file(
        open_session,
        context.extensions["storage"],
        file_id=file_id,
        largest=3,
        limits=Limits(seconds=60, memory_bytes=1024**3, characters=100),
    )
    assert state(alice, house, document) == ["unsupported", "too_large", "text/plain"]
    assert [each["reason"] for each in told(house)] == ["too_large"]
