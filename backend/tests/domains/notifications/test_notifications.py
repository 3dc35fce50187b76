"""People are told of what concerns them: once, in the list or by mail, and nobody else is."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import select, text, update
from sqlalchemy.exc import ProgrammingError

from app.core import clock, ids
from app.core.catalogue import catalogue
from app.core.cloudevents import CloudEvent
from app.core.consumers import CONSUMERS
from app.core.db import main_session, platform_session
from app.domains.notifications.consumers import TYPES
from app.domains.notifications.models import Notification
from app.domains.notifications.policy import KINDS, kind_of
from app.domains.notifications.service import listing, streaming
from app.domains.outbox.models import MainOutgoing
from app.domains.outbox.service.delivery import Delivery
from app.domains.outbox.service.recording import MAIN
from app.settings import Settings
from tests.cast import PASSWORD, House, Person, new_house, new_person
from tests.core.answers import refusal
from tests.domains.documents.files import upload
from tests.domains.outbox.conftest import Kept, outboxes_into, outgoing_of
from tests.post import PostOffice

MINE = "/api/users/me/notifications"
WISHES = "/api/users/me/notification-preferences"

Handle = Callable[[CloudEvent], None]
Happen = Callable[..., None]


@pytest.fixture
def alice(context: Flask) -> Person:
    return new_person(context, "Alice")


@pytest.fixture
def ursula(context: Flask) -> Person:
    return new_person(context, "Ursula")


@pytest.fixture
def house(alice: Person, ursula: Person) -> House:
    return new_house("acme", alice, user=ursula)


@pytest.fixture
def handle(context: Flask, settings: Settings) -> Handle:
    """As a consumer does that is given the event twice."""
    delivery = Delivery(settings, open_tenant=context.extensions["open_tenant"])

    def handle(event: CloudEvent) -> None:
        for _ in range(2):
            failure = delivery._attempt(CONSUMERS["notifications.notify"], event)
            assert failure is None, failure

    return handle


@pytest.fixture
def happen(context: Flask, handle: Handle) -> Happen:
    """Handles what was told of the tenant, or of the person."""
    outboxes = outboxes_into(context, told := Kept(), batch=1000)

    def happen(of: House | Person) -> None:
        if isinstance(of, House):
            outboxes.send(str(of.id))
            rows = outgoing_of(of.id)
        else:
            with platform_session() as session:
                statement = select(MainOutgoing).where(MainOutgoing.key == str(of.user_id))
                rows = list(session.scalars(statement.order_by(MainOutgoing.position)))
        messages = told.messages + [outboxes._message(MAIN, row) for row in rows]
        for message in messages:
            event = CloudEvent.loads(message.value)
            if event.type in TYPES:
                handle(event)

    return happen


def listed(person: Person, **query: object) -> list[dict[str, Any]]:
    answer = person.get(MINE, query_string=query)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.get_json()["items"]
    return items


def kinds(person: Person) -> list[str]:
    return [each["kind"] for each in listed(person)]


def wish(person: Person, kind: str, **channels: bool) -> None:
    answer = person.patch(WISHES, json={"items": [{"kind": kind, **channels}]})
    assert answer.status_code == 200, answer.text


def removed(person: Person, house: House, **changes: Any) -> CloudEvent:
    """An event that tells the person something."""
    values: dict[str, Any] = {
        "id": ids.new_id(),
        "source": "http://localhost",
        "type": "member.removed.v1",
        "subject": str(person.user_id),
        "time": clock.now(),
        "tenantid": house.id,
        "data": {"user_id": str(person.user_id), "tenant_id": str(house.id), "role": "user"},
    }
    return CloudEvent(**(values | changes))


def test_a_suspended_tenants_owners_are_told_and_its_users_are_not(
    alice: Person, ursula: Person, house: House, happen: Happen, post: PostOffice
) -> None:
    petra = new_person(post.app, "Petra", platform_role="platform_admin")
    mallory = new_person(post.app, "Mallory")
    one = f"/api/tenants/{house.id}"
    assert petra.post(one + "/suspend", json={"reason": "unpaid"}).status_code == 200
    assert petra.post(one + "/resume").status_code == 200
    happen(house)
    assert kinds(alice) == ["tenant.resumed", "tenant.suspended"]
    assert kinds(ursula) == kinds(mallory) == kinds(petra) == []
    (told,) = [each for each in listed(alice) if each["kind"] == "tenant.suspended"]
    assert (told["title"], told["tenant_id"]) == ("Acme is suspended", str(house.id))
    assert "unpaid" not in told["text"]
    mails = post.to(alice.email)
    assert [mail.subject for mail in mails] == ["Acme is suspended", "Acme can be used again"]
    assert mails[0].text.startswith(told["text"])
    assert "/notifications" in mails[0].text
    assert "<p>" in (mails[0].html or "")
    assert post.to(alice.email) == mails
    assert post.to(ursula.email) == []


def test_a_new_role_is_told_to_whoever_has_it(
    alice: Person, ursula: Person, house: House, happen: Happen, post: PostOffice
) -> None:
    path = f"/api/tenants/{house.id}/users/{ursula.user_id}"
    assert alice.patch(path, json={"role": "viewer"}).status_code == 200
    assert alice.delete(path).status_code == 204
    happen(house)
    assert kinds(ursula) == ["member.removed", "user.role_changed"]
    assert listed(ursula)[1]["text"] == 'Alice changed your role in "Acme" from user to viewer.'
    assert kinds(alice) == []
    assert len(post.to(ursula.email)) == 2


def test_documents_tell_their_owners_what_others_do(
    alice: Person, ursula: Person, house: House, happen: Happen, post: PostOffice
) -> None:
    one = f"{house.documents}/{upload(ursula, house)['id']}"
    assert ursula.get(one + "/download-url").status_code == 200
    happen(house)
    assert kinds(ursula) == []
    wish(ursula, "document.deleted", in_app=False, mail=True)
    assert alice.get(one + "/download-url").status_code == 200
    assert alice.delete(one).status_code == 204
    happen(house)
    assert kinds(ursula) == ["document.link_created"]
    assert "plans.txt" not in str(listed(ursula))  # names stay in the tenant's database
    (mail,) = post.to(ursula.email)
    assert mail.subject == "A document of yours is in the trash"
    wish(ursula, "document.deleted", mail=False)
    ursula.post(f"{house.documents}/bulk", json={"action": "restore", "ids": [one[-36:]]})
    assert alice.delete(one).status_code == 204
    happen(house)
    assert len(post.to(ursula.email)) == len(kinds(ursula)) == 1


def test_the_inviter_hears_of_who_came(
    alice: Person, house: House, happen: Happen, post: PostOffice
) -> None:
    bob = new_person(post.app, "Bob")
    invited = {"email": bob.email, "role": "viewer"}
    assert alice.post(f"/api/tenants/{house.id}/invitations", json=invited).status_code == 201
    accepted = bob.post("/api/invitations/accept", json={"token": post.token(bob.email)})
    assert accepted.status_code == 200, accepted.text
    happen(house)
    assert [each["title"] for each in listed(alice)] == ["Bob joined Acme"]
    assert kinds(bob) == []


def test_what_concerns_the_safety_of_an_account_is_always_told(
    alice: Person, happen: Happen, post: PostOffice
) -> None:
    answer = alice.patch(WISHES, json={"items": [{"kind": "password.changed", "mail": False}]})
    refusal(answer, 422)
    changed = {"current_password": PASSWORD, "new_password": "another long password"}
    assert alice.post("/api/users/me/password", json=changed).status_code == 204
    happen(alice)
    assert kinds(alice) == ["password.changed"]
    (mail,) = post.to(alice.email)
    assert "choose which" not in mail.text


def test_a_webhook_that_was_given_up_is_told_and_one_that_was_turned_off_is_not(
    alice: Person, house: House, handle: Handle
) -> None:
    for reason in ("manual", "failing", "gone"):
        data = {"endpoint_id": str(ids.new_id()), "reason": reason}
        handle(removed(alice, house, type="webhook.disabled.v1", data=data))
    assert kinds(alice) == ["webhook.disabled"] * 2
    gone, failing = (each["text"] for each in listed(alice))
    assert gone != failing


def test_pages_and_what_was_read(
    alice: Person, ursula: Person, house: House, handle: Handle
) -> None:
    for _ in range(3):
        handle(removed(ursula, house))
    handle(removed(alice, house))
    first = ursula.get(MINE, query_string={"limit": 2}).get_json()
    assert (len(first["items"]), first["unread"]) == (2, 3)
    rest = listed(ursula, cursor=first["next_cursor"])
    ordered = [each["id"] for each in first["items"] + rest]
    assert ordered == sorted(ordered, reverse=True)
    assert len(ordered) == 3
    middle = f"{MINE}/{ordered[1]}"
    assert ursula.patch(middle, json={"read": True}).get_json()["read_at"] is not None
    assert [each["id"] for each in listed(ursula, unread="true")] == [ordered[0], ordered[2]]
    assert ursula.patch(middle, json={"read": False}).get_json()["read_at"] is None
    marked = ursula.post(f"{MINE}/mark-all", json={"up_to": ordered[1]})
    assert marked.get_json() == {"marked": 2}
    assert ursula.get(MINE).get_json()["unread"] == 1
    assert ursula.post(f"{MINE}/mark-all").get_json() == {"marked": 1}
    refusal(alice.patch(middle, json={"read": True}), 404, "notification_not_found")
    assert alice.get(MINE).get_json()["unread"] == 1
    refusal(ursula.get(MINE, query_string={"cursor": "forged"}), 422)
    refusal(ursula.patch(middle, json={"read": "yes"}), 422)
    refusal(ursula.get(MINE, query_string={"unread": "maybe"}), 422)


def test_wishes(alice: Person, ursula: Person) -> None:
    told = {each["kind"]: each for each in alice.get(WISHES).get_json()["items"]}
    assert told.keys() == KINDS.keys()
    assert all(each["in_app"] for each in told.values())
    wish(alice, "tenant.suspended", mail=False)
    wish(alice, "tenant.suspended", in_app=False)
    (changed,) = [
        each for each in alice.get(WISHES).get_json()["items"] if each != told[each["kind"]]
    ]
    assert changed == {
        "kind": "tenant.suspended", "in_app": False, "mail": False, "fixed": False,
    }  # fmt: skip
    assert ursula.get(WISHES).get_json()["items"] == list(told.values())
    for items in (
        [],
        [{"kind": "tenant.suspended"}],
        [{"kind": "nothing", "mail": True}],
        [{"kind": "tenant.suspended", "mail": "yes"}],
        [{"kind": "tenant.suspended", "mail": True}] * 2,
    ):
        refusal(alice.patch(WISHES, json={"items": items}), 422)


def test_every_kind_has_an_event_and_words() -> None:
    assert {kind_of(each) for each in TYPES} == KINDS.keys()
    assert set(TYPES) <= catalogue().keys()
    for name, kind in KINDS.items():
        if kind.whom != "managers":
            assert kind.whom in catalogue()[f"{name}.v1"].schema["properties"]


def test_no_more_mails_than_anybody_reads(
    ursula: Person, house: House, handle: Handle, post: PostOffice
) -> None:
    handle(removed(ursula, house))
    with platform_session() as session:
        row = session.scalars(
            select(Notification).where(Notification.user_id == ursula.user_id)
        ).one()
        values = {"user_id": row.user_id, "kind": row.kind, "subject": "", "title": "", "text": ""}
        session.add_all(
            Notification(**values, listed=False, mailed_at=clock.now()) for _ in range(20)
        )
    assert post.to(ursula.email) == []
    handle(removed(ursula, house, type="password.reset.v1"))
    assert [mail.subject for mail in post.to(ursula.email)] == ["Your password was replaced"]


def test_the_application_sees_of_each_only_his_or_her_own(
    alice: Person, ursula: Person, house: House, handle: Handle
) -> None:
    handle(removed(ursula, house))
    wish(ursula, "tenant.deleted", mail=False)

    def as_alice(statement: str) -> Any:
        with main_session(user_id=alice.user_id, tenant_id=house.id) as session:
            return session.execute(text(statement), {"user": ursula.user_id})

    for of_hers in (
        "SELECT FROM notifications WHERE user_id = :user",
        "UPDATE notifications SET read_at = now() WHERE user_id = :user",
        "DELETE FROM notifications WHERE user_id = :user",
        "UPDATE notification_preferences SET mail = true WHERE user_id = :user",
        "DELETE FROM notification_preferences WHERE user_id = :user",
    ):
        assert as_alice(of_hers).rowcount == 0, of_hers
    insert = (
        "INSERT INTO notifications (id, user_id, tenant_id, kind, subject, title, text, listed,"
        f" created_at, updated_at) VALUES ('{ids.new_id()}', :user, '{ids.new_id()}', '', '', '',"
        " '', true, now(), now())"
    )
    with pytest.raises(ProgrammingError, match="row-level security"):
        as_alice(insert)


def test_old_ones_are_purged(ursula: Person, house: House, handle: Handle) -> None:
    handle(removed(ursula, house))
    handle(removed(ursula, house))
    oldest = listed(ursula)[1]["id"]
    with platform_session() as session:
        session.execute(
            update(Notification)
            .where(Notification.id == UUID(oldest))
            .values(created_at=clock.now() - timedelta(days=4000))
        )
    with platform_session() as session:
        assert listing.purge(session, kept=timedelta(days=3650), limit=1000) >= 1
    assert oldest not in {each["id"] for each in listed(ursula)}
    assert len(listed(ursula)) == 1


# The stream.


class Reader:
    """Reads a live stream, one event after another."""

    def __init__(self, person: Person, **headers: str) -> None:
        self.answer = person.app.test_client().get(
            MINE + "/stream", headers=person.headers | headers, buffered=False
        )
        assert self.answer.status_code == 200, self.answer.text
        assert self.answer.mimetype == "text/event-stream"
        self._chunks = self.answer.iter_encoded()

    def next(self) -> dict[str, Any] | None:
        """None where it is over."""
        for chunk in self._chunks:
            lines = dict(line.split(": ", 1) for line in chunk.decode().splitlines() if line)
            if "event" in lines:
                return {**lines, "data": json.loads(lines["data"])}
        return None

    def close(self) -> None:
        self.answer.close()


@pytest.fixture
def lasting(context: Flask, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams that last as long as the test, and look often."""
    long = settings.model_copy(update={"stream_seconds": 60})
    monkeypatch.setitem(context.extensions, "settings", long)
    monkeypatch.setattr(streaming, "_POLL_SECONDS", 0.01)


def test_a_stream_tells_while_it_happens_and_goes_on_where_it_broke_off(
    ursula: Person, house: House, handle: Handle, lasting: None
) -> None:
    reader = Reader(ursula)
    assert reader.next() == {"event": "unread", "data": {"unread": 0}}
    handle(removed(ursula, house))
    first = reader.next() or {}
    (row,) = listed(ursula)
    assert (first["event"], first["id"], first["data"]) == ("notification", row["id"], row)
    assert reader.next() == {"event": "unread", "data": {"unread": 1}}
    reader.close()
    handle(removed(ursula, house))
    handle(removed(ursula, house))
    again = Reader(ursula, **{"Last-Event-ID": row["id"]})
    missed = [(again.next() or {}).get("id") for _ in range(2)]
    assert missed == [each["id"] for each in reversed(listed(ursula)[:2])]
    ursula.post(f"{MINE}/mark-all")
    counts = [again.next(), again.next()]
    assert [each and each["data"]["unread"] for each in counts] == [3, 0]
    again.close()


def test_a_late_commit_is_not_passed_over(
    ursula: Person, house: House, handle: Handle, lasting: None
) -> None:
    """An id that was given earlier may appear later."""
    handle(removed(ursula, house))
    early = Reader(ursula)
    told = early.next() or {}
    handle(removed(ursula, house))
    with platform_session() as session:  # as if it had been begun first
        hers = select(Notification.id).where(Notification.user_id == ursula.user_id)
        newest = hers.order_by(Notification.id.desc()).limit(1)
        before = UUID(int=UUID(told["id"]).int - (1000 << 80))
        session.execute(
            update(Notification)
            .where(Notification.id == newest.scalar_subquery())
            .values(id=before)
        )
    events = [early.next() or {} for _ in range(2)]
    assert str(before) in {each.get("id") for each in events}
    early.close()


def test_a_stream_ends_with_its_session(ursula: Person, lasting: None) -> None:
    elsewhere = ursula.again()
    reader = Reader(elsewhere)
    reader.next()
    assert elsewhere.post("/api/auth/logout").status_code == 204
    assert reader.next() == {"event": "end", "data": {"reason": "session_ended"}}
    assert reader.next() is None
    reader.close()
    refusal(elsewhere.get(MINE + "/stream"), 401)


def test_there_are_few_streams_and_one_for_each(
    context: Flask, alice: Person, ursula: Person, settings: Settings, lasting: None
) -> None:
    bob = new_person(context, "Bob")
    readers = [Reader(alice), Reader(ursula)]
    assert settings.live_streams == 2
    for person in (alice, bob):
        refused = person.get(MINE + "/stream")
        refusal(refused, 503, "too_many_streams")
        assert int(refused.headers["Retry-After"]) > 0
    readers[0].close()
    Reader(bob).close()
    readers[1].close()
    refusal(bob.get(MINE + "/stream", headers={"Last-Event-ID": "7"}), 400)
    Reader(bob).close()
