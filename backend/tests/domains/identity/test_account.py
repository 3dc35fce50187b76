"""Changing one's own name and password."""

from typing import Any

import pytest
from flask import Flask

from tests.cast import PASSWORD, Person, new_person
from tests.core.answers import refusal

_NEW = "an even longer horse"


@pytest.fixture
def ursula(context: Flask) -> Person:
    return new_person(context, "Ursula")


def _change(person: Person, **changes: Any) -> Any:
    body = {"current_password": PASSWORD, "new_password": _NEW} | changes
    return person.post("/api/users/me/password", json=body)


def _log_in(app: Flask, person: Person, password: str) -> int:
    body = {"email": person.email, "password": password}
    return app.test_client().post("/api/auth/login", json=body).status_code


def test_a_new_password_replaces_the_old_and_ends_other_sessions(
    app: Flask, ursula: Person
) -> None:
    elsewhere = ursula.again()
    assert _change(ursula).status_code == 204
    assert ursula.get("/api/users/me").status_code == 200
    refusal(elsewhere.get("/api/users/me"), 401)
    assert _log_in(app, ursula, PASSWORD) == 401
    assert _log_in(app, ursula, _NEW) == 200


def test_whoever_does_not_know_the_present_one_changes_nothing(app: Flask, ursula: Person) -> None:
    elsewhere = ursula.again()
    assert refusal(_change(ursula, current_password="wrong"), 403)["code"] == "wrong_password"
    assert elsewhere.get("/api/users/me").status_code == 200
    assert _log_in(app, ursula, PASSWORD) == 200


@pytest.mark.parametrize("password", ["", "1234567", "x" * 257, None, 12345678, ["a long one"]])
def test_a_password_that_will_not_do(ursula: Person, password: object) -> None:
    assert "new_password" in refusal(_change(ursula, new_password=password), 422)["errors"]


def test_a_name_is_changed(ursula: Person) -> None:
    assert ursula.patch("/api/users/me", json={"name": "Ursula K."}).get_json()["name"] == (
        "Ursula K."
    )
    assert ursula.get("/api/users/me").get_json()["name"] == "Ursula K."


@pytest.mark.parametrize("body", [{}, {"name": ""}, {"name": "x" * 201}, {"email": "a@b.example"}])
def test_what_is_no_name_is_refused(ursula: Person, body: dict[str, str]) -> None:
    refusal(ursula.patch("/api/users/me", json=body), 422)
