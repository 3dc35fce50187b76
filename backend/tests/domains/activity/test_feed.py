"""What happens in a tenant is told to its members, a moment later, without names or contents."""

import io

from flask import Flask

from app.domains.outbox.service.delivery import Delivery
from app.domains.outbox.service.relaying import InProcess
from app.settings import Settings
from tests.cast import Cast
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
    outboxes_into(context, InProcess(delivery.receive), batch=100_000).send(str(cast.acme.id))
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
