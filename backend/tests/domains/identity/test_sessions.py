"""Seeing and ending one's sessions; nobody's but one's own."""

import pytest
from flask import Flask

from tests.cast import Person, new_person
from tests.core.answers import refusal


@pytest.fixture
def alice(context: Flask) -> Person:
    """An Alice of this test's own: her sessions are ended."""
    return new_person(context, "Alice")


@pytest.fixture
def mallory(context: Flask) -> Person:
    return new_person(context, "Mallory")


def _current(person: Person) -> str:
    session: str = person.get("/api/auth/current-session").get_json()["id"]
    return session


def test_a_stranger_neither_sees_nor_ends_them(alice: Person, mallory: Person) -> None:
    hers = _current(alice)
    refusal(mallory.delete(f"/api/auth/sessions/{hers}"), 404)
    assert hers not in mallory.get("/api/auth/sessions").text
    assert mallory.delete("/api/auth/sessions").get_json() == {"ended": 0}
    assert alice.get("/api/users/me").status_code == 200


def test_they_are_listed_newest_first_with_the_one_that_asks(alice: Person) -> None:
    phone = alice.again()
    listed = phone.get("/api/auth/sessions").get_json()
    assert listed["current"] == _current(phone)
    assert [each["id"] for each in listed["items"]] == [_current(phone), _current(alice)]
    assert listed["items"][0]["method"] == "password"
    assert listed["items"][0]["tenant_id"] is None
    assert listed["items"][0]["user_agent"].startswith("Werkzeug/")


def test_one_is_ended_at_once(alice: Person) -> None:
    phone = alice.again()
    lost = _current(phone)
    assert alice.delete(f"/api/auth/sessions/{lost}").status_code == 204
    refusal(phone.get("/api/users/me"), 401)
    refusal(alice.delete(f"/api/auth/sessions/{lost}"), 404)
    assert [each["id"] for each in alice.get("/api/auth/sessions").get_json()["items"]] == [
        _current(alice)
    ]


def test_all_others_are_ended_and_cannot_be_refreshed(app: Flask, alice: Person) -> None:
    others = [alice.again(), alice.again()]
    assert alice.delete("/api/auth/sessions").get_json() == {"ended": 2}
    for other in others:
        refusal(other.get("/api/users/me"), 401)
        body = {"refresh_token": other.tokens["refresh_token"]}
        refusal(app.test_client().post("/api/auth/refresh", json=body), 401)
    assert alice.get("/api/users/me").status_code == 200
