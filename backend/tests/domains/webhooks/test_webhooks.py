"""A tenant's events reach the endpoints that it chose, signed, and whatever happens on the way."""

import io
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from threading import Event, Semaphore
from typing import Any
from uuid import UUID

import pytest
from cryptography.fernet import Fernet
from flask import Flask
from sqlalchemy import text
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from app.core import clock
from app.core.secrets import FernetBox, SecretBox
from app.core.tallies import current_tallies
from app.domains.sealing import service as sealing
from app.domains.sealing.service import Outcome
from app.domains.webhooks.models import SEALED
from app.domains.webhooks.service import deliveries
from app.domains.webhooks.service.sending import Sender
from app.integrations.customer_http import CustomerHttp
from app.settings import Settings
from app.tenancy.manager import current_manager
from tests.cast import Cast, new_house, new_person
from tests.core.answers import refusal
from tests.core.test_metrics import bearer, of, parse
from tests.domains.webhooks.conftest import Scene
from tests.domains.webhooks.receivers import Received, Receiver


def verified(secret: str, received: Received) -> Any:
    return Webhook(secret).verify(received.body, received.headers)


def until(delivery: dict[str, Any]) -> timedelta:
    return datetime.fromisoformat(delivery["next_attempt_at"]) - clock.now()


def test_a_chosen_event_arrives_signed_and_once(scene: Scene, there: Receiver) -> None:
    endpoint, secret = scene.listen(there.url)
    other, _ = scene.listen(there.url, "document.deleted.v1")
    document = scene.alice.post(
        scene.house.documents, data={"file": (io.BytesIO(b"plans"), "secret.txt")}
    ).get_json()["id"]
    scene.relay(times=2)
    scene.work()
    (received,) = there.received
    told = verified(secret, received)
    assert told["type"] == "document.uploaded.v1"
    assert told["data"] == {"document_id": document, "size": 5}
    assert told["tenant_id"] == str(scene.house.id)
    assert told["actor_id"] == str(scene.alice.user_id)
    assert "secret.txt" not in received.body.decode()
    feed = scene.alice.get(f"/api/tenants/{scene.house.id}/events").get_json()["items"]
    assert received.headers["webhook-id"] in {each["id"] for each in feed}

    (delivery,) = scene.deliveries(endpoint)
    assert (delivery["state"], delivery["message_id"]) == (
        "delivered",
        received.headers["webhook-id"],
    )
    (attempt,) = scene.attempts(endpoint, delivery)
    assert (attempt["status"], attempt["error"], attempt["number"]) == (204, None, 1)
    details = scene.alice.get(f"{endpoint}/deliveries/{delivery['id']}").get_json()
    assert details["body"].encode() == received.body
    assert scene.deliveries(other) == []


def test_what_was_changed_on_the_way_is_noticed(scene: Scene, there: Receiver) -> None:
    """The control: another secret, body, id or time does not verify."""
    _, secret = scene.listen(there.url)
    scene.upload()
    scene.work()
    (received,) = there.received
    _, others = scene.listen(there.url)
    with pytest.raises(WebhookVerificationError):
        verified(others, received)
    for name, value in (("webhook-id", "another"), ("webhook-timestamp", "1")):
        changed = Received(received.path, received.headers | {name: value}, received.body)
        with pytest.raises(WebhookVerificationError):
            verified(secret, changed)
    with pytest.raises(WebhookVerificationError):
        verified(secret, Received(received.path, received.headers, received.body + b" "))


def test_secrets_are_told_once_and_sealed(scene: Scene, there: Receiver) -> None:
    endpoint, secret = scene.listen(there.url)
    assert secret.startswith("whsec_")
    for answer in (scene.alice.get(endpoint), scene.alice.get(scene.path)):
        assert "whsec_" not in answer.text
    with current_manager().tenant_db_session(scene.house.database) as session:
        row = session.execute(
            text("SELECT to_jsonb(e)::text FROM webhook_endpoints e")
        ).scalar_one()
    assert secret.removeprefix("whsec_") not in row
    trail = scene.alice.get(f"/api/tenants/{scene.house.id}/audit").text
    assert "webhook.created" in trail
    assert "whsec_" not in trail


def test_two_secrets_sign_while_one_is_rotated(scene: Scene, there: Receiver) -> None:
    endpoint, first = scene.listen(there.url)
    second = scene.alice.post(f"{endpoint}/secret").get_json()["secret"]
    assert scene.alice.post(f"{endpoint}/test").status_code == 202
    scene.work()
    assert verified(first, there.received[0])["type"] == "webhook.test"
    assert verified(second, there.received[0])["data"] == {"endpoint_id": endpoint[-36:]}
    scene.sql("UPDATE webhook_endpoints SET former_secret_ends_at = now() - interval '1 s'")
    scene.alice.post(f"{endpoint}/test")
    scene.work()
    assert verified(second, there.received[1])
    with pytest.raises(WebhookVerificationError):
        verified(first, there.received[1])

    third = scene.alice.post(f"{endpoint}/secret", json={"overlap_seconds": 0}).get_json()
    assert third["endpoint"]["former_secret_ends_at"] is None
    scene.alice.post(f"{endpoint}/test")
    scene.work()
    assert verified(third["secret"], there.received[2])
    with pytest.raises(WebhookVerificationError):
        verified(second, there.received[2])


def test_failures_are_tried_again_at_growing_pauses(scene: Scene, there: Receiver) -> None:
    endpoint, _ = scene.listen(there.url)
    there.answers = [
        (500, {}),
        (302, {"Location": there.url}),
        (429, {"Retry-After": "4000"}),
        (200, {}),
    ]
    scene.upload()
    pauses = []
    for _ in range(3):
        scene.work()
        (delivery,) = scene.deliveries(endpoint, state="pending")
        pauses.append(until(delivery))
        scene.let_time_pass()
    expected = [timedelta(seconds=5), timedelta(minutes=5), timedelta(seconds=4000)]
    for pause, wanted in zip(pauses, expected, strict=True):
        assert wanted - timedelta(seconds=60) < pause <= wanted
    assert pauses[0] <= timedelta(seconds=5)
    assert scene.alice.get(endpoint).get_json()["failing_since"] is not None
    scene.work()
    (delivery,) = scene.deliveries(endpoint)
    assert (delivery["state"], delivery["attempt_count"]) == ("delivered", 4)
    assert [each["status"] for each in scene.attempts(endpoint, delivery)] == [500, 302, 429, 200]
    assert {each.headers["webhook-id"] for each in there.received} == {delivery["message_id"]}
    assert scene.alice.get(endpoint).get_json()["failing_since"] is None


def test_without_its_secret_nothing_is_sent(scene: Scene, there: Receiver) -> None:
    """What opens secrets is away, or lost the key: this is tried again as any other failure."""
    endpoint, _ = scene.listen(there.url)
    scene.sql("UPDATE webhook_endpoints SET sealed_secret = 'x' || sealed_secret")
    scene.upload()
    scene.work()
    (delivery,) = scene.deliveries(endpoint, state="pending")
    (attempt,) = scene.attempts(endpoint, delivery)
    assert (attempt["error"], there.received) == ("not_signed", [])


def test_secrets_are_sealed_anew_when_the_key_changes(scene: Scene, there: Receiver) -> None:
    endpoint, first = scene.listen(there.url)
    second = scene.alice.post(f"{endpoint}/secret").get_json()["secret"]
    scene.alice.post(f"{endpoint}/test")
    (delivery,) = scene.deliveries(endpoint)
    new, old = Fernet.generate_key().decode(), scene.settings.secrets_keys
    both = FernetBox([new, *(key.get_secret_value() for key in old)])
    open_session = partial(current_manager().tenant_db_session, scene.house.database)
    outcome = Outcome()
    sealing.reseal(both, SEALED, open_session, outcome)
    assert (outcome.resealed, outcome.unreadable) == (2, [])
    deliver(scene, UUID(delivery["id"]), secrets=FernetBox([new]))
    assert verified(first, there.received[0]) == verified(second, there.received[0])


def test_what_was_given_up_is_sent_again(scene: Scene, there: Receiver) -> None:
    endpoint, secret = scene.listen(there.url)
    there.answers = [(500, {})]
    scene.upload()
    scene.upload()
    for _ in range(len(scene.settings.webhook_retry_seconds) + 1):
        scene.work()
        scene.let_time_pass()
    first, second = scene.deliveries(endpoint, state="failed")
    assert first["attempt_count"] == len(scene.settings.webhook_retry_seconds) + 1
    before = len(there.received)
    scene.work()
    assert len(there.received) == before, "it was given up"

    there.answers = [(200, {})]
    again = scene.alice.post(f"{endpoint}/deliveries/{first['id']}/replay")
    assert again.status_code == 202
    assert again.get_json()["replay"] is True
    scene.work()
    assert verified(secret, there.received[-1])
    assert there.received[-1].headers["webhook-id"] == first["message_id"]

    since = {"since": first["created_at"]}
    answer = scene.alice.post(f"{endpoint}/replay", json=since)
    assert (answer.status_code, answer.get_json()) == (202, {"replayed": 1}), "the other arrived"
    scene.work()
    assert there.received[-1].headers["webhook-id"] == second["message_id"]
    assert scene.alice.post(f"{endpoint}/replay", json=since).get_json() == {"replayed": 0}
    both = since | {"states": ["delivered"]}
    assert scene.alice.post(f"{endpoint}/replay", json=both).get_json() == {"replayed": 2}
    early = since | {"until": first["created_at"]}
    assert scene.alice.post(f"{endpoint}/replay", json=early).get_json() == {"replayed": 0}


def test_days_of_failure_disable_an_endpoint(scene: Scene, there: Receiver) -> None:
    endpoint, _ = scene.listen(there.url)
    there.answers = [(500, {})]
    scene.upload()
    scene.work()
    assert scene.alice.get(endpoint).get_json()["enabled"] is True
    scene.sql("UPDATE webhook_endpoints SET failing_since = now() - interval '5 days 1 s'")
    scene.let_time_pass()
    scene.work()
    told = scene.alice.get(endpoint).get_json()
    assert (told["enabled"], told["disabled_reason"]) == (False, "failing")
    assert scene.outgoing("webhook.disabled.v1") == [
        {"endpoint_id": endpoint[-36:], "reason": "failing"}
    ]
    before = len(there.received)
    scene.upload()
    scene.let_time_pass()
    scene.work()
    assert len(there.received) == before
    assert [each["state"] for each in scene.deliveries(endpoint)] == ["skipped", "skipped"]
    refusal(scene.alice.post(f"{endpoint}/test"), 409, "webhook_disabled")

    there.answers = [(200, {})]
    told = scene.alice.patch(endpoint, json={"enabled": True}).get_json()
    assert (told["enabled"], told["failing_since"]) == (True, None)
    missed = {"since": told["created_at"]}
    assert scene.alice.post(f"{endpoint}/replay", json=missed).get_json() == {"replayed": 2}
    scene.work()
    assert len(there.received) == before + 2
    trail = scene.alice.get(f"/api/tenants/{scene.house.id}/audit").get_json()["items"]
    types = {each["type"] for each in trail}
    assert {"webhook.disabled", "webhook.enabled", "webhook.replayed"} <= types


def test_gone_disables_at_once(scene: Scene, there: Receiver) -> None:
    endpoint, _ = scene.listen(there.url)
    there.answers = [(410, {})]
    scene.upload()
    scene.work()
    assert scene.alice.get(endpoint).get_json()["disabled_reason"] == "gone"
    assert [each["state"] for each in scene.deliveries(endpoint)] == ["failed"]
    assert scene.outgoing("webhook.disabled.v1")[0]["reason"] == "gone"


def test_what_is_switched_off_gets_nothing(scene: Scene, there: Receiver) -> None:
    endpoint, _ = scene.listen(there.url, "*")
    scene.upload()
    scene.alice.patch(endpoint, json={"enabled": False})
    scene.work()
    assert there.received == []
    assert {(each["event_type"], each["state"]) for each in scene.deliveries(endpoint)} == {
        ("document.uploaded.v1", "skipped")
    }, "and file.process is for the house alone"
    assert scene.alice.delete(endpoint).status_code == 204
    refusal(scene.alice.get(endpoint), 404, "webhook_not_found")


def test_an_address_inside_is_refused_when_it_is_connected_to(
    scene: Scene, there: Receiver, app: Flask
) -> None:
    """The URL was accepted while the name pointed elsewhere."""
    endpoint, _ = scene.listen(there.url)
    scene.sql("UPDATE webhook_endpoints SET url = 'https://rebinding.example/'")
    inside = CustomerHttp(seconds=5, loopback=False, resolve=lambda _host, _port: ["10.0.0.1"])
    former, app.extensions["customer_http"] = app.extensions["customer_http"], inside
    try:
        scene.upload()
        scene.work(app)
    finally:
        app.extensions["customer_http"] = former
    (delivery,) = scene.deliveries(endpoint)
    (attempt,) = scene.attempts(endpoint, delivery)
    assert (attempt["error"], attempt["status"]) == ("address_refused", None)
    assert "10.0.0.1" not in attempt["detail"]
    assert delivery["state"] == "pending"


def test_many_workers_make_one_attempt(scene: Scene, there: Receiver) -> None:
    endpoint, _ = scene.listen(there.url)
    scene.upload()
    (delivery,) = scene.deliveries(endpoint)

    delivery_id = UUID(delivery["id"])
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: deliver(scene, delivery_id), range(4)))
    assert len(there.received) == 1


def test_one_tenant_does_not_hold_all_workers(scene: Scene, there: Receiver) -> None:
    endpoint, _ = scene.listen(there.url)
    for _ in range(7):
        scene.alice.post(f"{endpoint}/test")
    held, released = Semaphore(0), Event()

    def hold(request: Any) -> None:
        held.release()
        released.wait(30)
        request.wfile.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    there.speak = hold
    with ThreadPoolExecutor(5) as pool:
        waiting = [UUID(each["id"]) for each in scene.deliveries(endpoint)]
        under_way = [pool.submit(deliver, scene, each) for each in waiting[:5]]
        try:
            assert all(held.acquire(timeout=30) for _ in under_way)
            deliver(scene, waiting[5])
            assert len(there.received) == 5
        finally:
            released.set()
        for each in under_way:
            each.result()
    assert timedelta(0) < until(scene.deliveries(endpoint)[5]) <= timedelta(seconds=5)
    deliver(scene, waiting[6])
    assert len(there.received) == 6, "there is room again"


def deliver(scene: Scene, delivery_id: UUID, **options: Any) -> None:
    """What one worker does."""
    with scene.app.app_context():
        sender(scene, **options).deliver(
            lambda: scene.app.extensions["open_tenant"](scene.house.id),
            tenant_id=scene.house.id,
            delivery_id=delivery_id,
        )


def sender(scene: Scene, *, client: Any = None, secrets: SecretBox | None = None) -> Sender:
    return Sender(
        client or scene.app.extensions["customer_http"],
        secrets or scene.app.extensions["secrets"],
        current_tallies(),
        scene.settings,
    )


class Killed(BaseException):
    """No error that anybody handles: the process is gone."""


def test_a_worker_that_dies_leaves_an_attempt_without_an_end(scene: Scene, there: Receiver) -> None:
    endpoint, _ = scene.listen(there.url)
    scene.upload()
    (delivery,) = scene.deliveries(endpoint)

    class Mortal:
        def post(self, *_: object, **__: object) -> None:
            raise Killed

    with pytest.raises(Killed):
        deliver(scene, UUID(delivery["id"]), client=Mortal())
    scene.work()
    assert there.received == [], "the attempt may still be under way"
    scene.let_time_pass()
    scene.work()
    assert len(there.received) == 1
    (delivery,) = scene.deliveries(endpoint)
    assert delivery["state"] == "delivered"
    first, second = scene.attempts(endpoint, delivery)
    assert (first["finished_at"], second["status"]) == (None, 204)


def test_a_delivery_whose_job_was_never_written_is_found(
    scene: Scene, there: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The consumer is killed between the commit in the tenant's database and the job's row."""
    endpoint, _ = scene.listen(there.url)
    with monkeypatch.context() as patch:
        patch.setattr(deliveries, "schedule", lambda *_, **__: None)
        scene.upload()
    assert [job.name for job in scene.jobs()] == ["webhooks.sweep"]
    (sweep,) = scene.jobs()
    assert timedelta(0) < sweep.due_at - clock.now() <= timedelta(minutes=1)
    scene.let_time_pass()
    scene.work()
    assert len(there.received) == 1
    assert [each["state"] for each in scene.deliveries(endpoint)] == ["delivered"]


def test_sent_events_are_kept_for_a_time(scene: Scene, there: Receiver) -> None:
    endpoint, _ = scene.listen(there.url)
    for _ in range(3):
        scene.upload()
    first, second, third = scene.deliveries(endpoint)
    scene.sql(
        "UPDATE webhook_deliveries SET state = 'delivered', next_attempt_at = NULL WHERE id <> :id",
        id=second["id"],
    )
    scene.sql(
        "UPDATE webhook_messages SET created_at = now() - interval '31 days' WHERE id <> :id",
        id=third["message_id"],
    )
    with current_manager().tenant_db_session(scene.house.database) as session:
        deliveries.purge(session, days=scene.settings.webhook_retention_days)
    left = [each["id"] for each in scene.deliveries(endpoint)]
    assert left == [second["id"], third["id"]], "what is on its way stays"
    refusal(scene.alice.get(f"{endpoint}/deliveries/{first['id']}"), 404)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"url": "https://169.254.169.254/latest"}, "webhook_url_refused"),
        ({"url": "https://2130706433/"}, "webhook_url_refused"),
        ({"url": "gopher://hooks.example.com/"}, "webhook_url_refused"),
        ({"url": ""}, "invalid_payload"),
        ({"url": "https://h.example/" + "a" * 2000}, "invalid_payload"),
        ({"event_types": []}, "invalid_payload"),
        ({"event_types": ["document.uploaded"]}, "unknown_event_type"),
        ({"event_types": "*"}, "invalid_payload"),
        ({"description": "a" * 201}, "invalid_payload"),
        ({"secret": "whsec_mine"}, "invalid_payload"),
    ],
)
def test_wrong_input(scene_of_all: Scene, change: dict[str, Any], code: str) -> None:
    scene = scene_of_all
    wish = {"url": "https://hooks.example.com/", "event_types": ["*"]} | change
    refusal(scene.alice.post(scene.path, json=wish), 422, code)
    (endpoint,) = scene.alice.get(scene.path).get_json()["items"]
    refusal(scene.alice.patch(f"{scene.path}/{endpoint['id']}", json=change), 422, code)
    assert scene.alice.get(scene.path).get_json()["items"] == [endpoint]


@pytest.fixture(scope="module")
def scene_of_all(here: Flask, settings: Settings) -> Scene:
    """A tenant with one endpoint, which no test changes."""
    with here.app_context():
        alice = new_person(here, "Alice")
        scene = Scene(here, settings, new_house("acme", alice), alice)
        scene.listen("https://hooks.example.com/")
        return scene


def test_plain_http_and_this_machine_need_the_setting(app: Flask, cast: Cast) -> None:
    path = f"/api/tenants/{cast.globex.id}/webhooks"
    for url in ("http://hooks.example.com/", "https://127.0.0.1/", "https://[::1]/"):
        wish = {"url": url, "event_types": ["*"]}
        refusal(cast.mallory.post(path, json=wish), 422, "webhook_url_refused")


def test_a_tenant_has_so_many_endpoints(scene: Scene) -> None:
    wish = {"url": "https://hooks.example.com/", "event_types": ["*"]}
    with ThreadPoolExecutor(4) as pool:
        statuses = list(
            pool.map(lambda _: scene.alice.post(scene.path, json=wish).status_code, range(24))
        )
    assert (statuses.count(201), statuses.count(409)) == (20, 4)


def test_a_delivery_belongs_to_its_endpoint(scene: Scene, there: Receiver) -> None:
    endpoint, _ = scene.listen(there.url)
    other, _ = scene.listen(there.url, "document.deleted.v1")
    scene.upload()
    (delivery,) = scene.deliveries(endpoint)
    for path in (f"{other}/deliveries/{delivery['id']}", f"{endpoint}/deliveries/{other[-36:]}"):
        refusal(scene.alice.get(path), 404, "webhook_delivery_not_found")
        refusal(scene.alice.post(f"{path}/replay"), 404, "webhook_delivery_not_found")
    refusal(scene.alice.get(f"{endpoint}/deliveries", query_string={"cursor": "forged"}), 422)
    refusal(scene.alice.get(f"{endpoint}/deliveries", query_string={"state": "lost"}), 422)


def test_attempts_are_counted_for_all_tenants_together(
    scene: Scene, there: Receiver, settings: Settings
) -> None:
    def count(outcome: str) -> float:
        figures = parse(scene.app.test_client().get("/metrics", headers=bearer(settings)).text)
        return of(figures, "tenantry_webhook_attempts_total", outcome=outcome)

    delivered, refused = count("delivered"), count("refused")
    scene.listen(there.url)
    there.answers = [(500, {}), (200, {})]
    scene.upload()
    scene.work()
    scene.let_time_pass()
    scene.work()
    assert (count("delivered"), count("refused")) == (delivered + 1, refused + 1)
