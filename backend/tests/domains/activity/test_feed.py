"""What happens in a tenant is told to its members, a moment later, without names or contents."""

import io
from datetime import timedelta

from flask import Flask
from sqlalchemy import select

from app.core import clock
from app.core.db import platform_session
from app.core.tasks import DEFINITIONS
from app.domains.jobs.models import Job
from app.domains.outbox.service.delivery import Delivery
from app.domains.outbox.service.relaying import InProcess
from app.settings import Settings
from tests.cast import Cast, new_house
from tests.domains.outbox.conftest import outboxes_into


def test_the_feed_shows_what_happens_to_its_members(
    context: Flask, cast: Cast, settings: Settings
) -> None:
    delivery = Delivery(settings, open_tenant=context.extensions["open_tenant"])
    feed = f"/api/tenants/{cast.acme.id}/events"
    document = cast.alice.post(
        cast.acme.documents, data={"file": (io.BytesIO(b"plans"), "secret plans.txt")}
    ).get_json()
    cast.ada.delete(f"{cast.acme.documents}/{document['id']}")
    outboxes_into(context, InProcess(delivery.receive_all), batch=100_000).send(str(cast.acme.id))
    page = cast.bob.get(feed, query_string={"limit": 2}).get_json()
    assert [(each["type"], each["subject"]) for each in page["items"]] == [
        ("document.deleted.v1", document["id"]),
        ("document.uploaded.v1", document["id"]),
    ]
    assert [each["actor_id"] for each in page["items"]] == [
        str(cast.ada.user_id),
        str(cast.alice.user_id),
    ]
    assert page["items"][1]["data"] == {"document_id": document["id"], "size": 5}
    assert "secret plans" not in str(page)
    only = cast.bob.get(feed, query_string={"type": "document.uploaded.v1"}).get_json()
    assert {each["type"] for each in only["items"]} == {"document.uploaded.v1"}
    assert cast.mallory.get(feed).status_code == 404
    assert cast.petra.get(feed).status_code == 404
    assert cast.bob.get(feed, query_string={"cursor": "forged"}).status_code == 422


def test_it_forgets_what_happened_long_ago(context: Flask, cast: Cast, settings: Settings) -> None:
    house, delivery = (
        new_house("acme", cast.alice),
        Delivery(settings, open_tenant=context.extensions["open_tenant"]),
    )
    relay = outboxes_into(context, InProcess(delivery.receive_all), batch=100_000)
    feed = f"/api/tenants/{house.id}/events"

    def upload(name: str) -> None:
        cast.alice.post(house.documents, data={"file": (io.BytesIO(name.encode()), name)})
        relay.send(str(house.id))

    upload("old.txt")
    kept = timedelta(days=settings.activity_retention_days)
    with context.extensions["tenancy"].server.connect_as_owner(house.database) as owner:
        owner.execute(
            "UPDATE activities SET occurred_at = now() - %s", (kept + timedelta(hours=1),)
        )
    upload("new.txt")
    assert len(cast.alice.get(feed).get_json()["items"]) == 2
    mine = select(Job).where(Job.name == "activity.purge", Job.tenant_id == house.id)
    with platform_session() as session:
        jobs = list(session.scalars(mine))
    assert 1 <= len(jobs) <= 2  # a month may have ended meanwhile
    assert all(kept < job.due_at - clock.now() <= kept + timedelta(days=31) for job in jobs)
    with context.extensions["open_tenant"](house.id) as session:
        DEFINITIONS["activity.purge"].run(session)
    [left] = cast.alice.get(feed).get_json()["items"]
    assert left["type"] == "document.uploaded.v1"
    upload("newer.txt")
    with platform_session() as session:
        assert len(list(session.scalars(mine))) == len(jobs)  # one job for a month, not for each


def test_what_asks_the_house_for_work_is_neither_news_nor_audited(
    context: Flask, cast: Cast
) -> None:
    house = new_house("acme", cast.alice)
    cast.alice.post(house.documents, data={"file": (io.BytesIO(b"plans"), "plans.txt")})
    trail = cast.alice.get(f"/api/tenants/{house.id}/audit").get_json()["items"]
    types = {each["type"] for each in trail}
    assert "document.uploaded" in types
    assert "file.process" not in types
