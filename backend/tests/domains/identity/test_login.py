"""Signing in with a password."""

from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import select

from app.core import ids
from app.core.db import main_session
from app.domains.identity.models import User, UserSession
from app.domains.identity.service.passwords import Passwords
from app.settings import Settings
from tests.cast import PASSWORD, Cast, Person, new_person
from tests.core.answers import refusal
from tests.core.apps import another_app
from tests.domains.identity.accounts import change


def log_in(app: Flask, email: str, password: str, **options: Any) -> Any:
    body = {"email": email, "password": password}
    return app.test_client().post("/api/auth/login", json=body, **options)


def password_hash(user_id: UUID) -> str | None:
    with main_session() as session:
        return session.scalar(select(User.password_hash).where(User.id == user_id))


@pytest.fixture
def person(context: Flask) -> Person:
    return new_person(context, "Bob")


def test_nobody_can_tell_why_a_login_is_refused(app: Flask, cast: Cast, context: Flask) -> None:
    inactive, without = new_person(app, "Alice"), new_person(app, "Ursula")
    change(inactive, active=False)
    change(without, password_hash=None)
    answers = [
        log_in(app, cast.alice.email, "mallory's guess"),
        log_in(app, f"{ids.new_id().hex}@example.com", PASSWORD),
        log_in(app, inactive.email, PASSWORD),
        log_in(app, inactive.email, "wrong"),
        log_in(app, without.email, PASSWORD),
        log_in(app, without.email, "nobody's password"),
    ]
    told = [refusal(answer, 401, "wrong_credentials") | {"request_id": ""} for answer in answers]
    assert all(problem == told[0] for problem in told)
    names = [sorted(name for name, _ in answer.headers) for answer in answers]
    assert all(these == names[0] for these in names)


def test_the_owner_of_the_password_gets_tokens(
    app: Flask, person: Person, settings: Settings
) -> None:
    answer = log_in(app, person.email, PASSWORD, headers={"User-Agent": "Browser/1"})
    assert answer.status_code == 200
    tokens = answer.get_json()
    assert set(tokens) == {"access_token", "refresh_token", "token_type", "expires_in"}
    assert tokens["token_type"] == "Bearer"
    assert tokens["expires_in"] == settings.access_token_seconds
    assert answer.headers["Cache-Control"] == "no-store"  # RFC 6749, section 5.1
    with main_session() as session:
        newest = (
            select(UserSession)
            .where(UserSession.user_id == person.user_id)
            .order_by(UserSession.id.desc())
        )
        opened = session.scalars(newest).first()
    assert opened is not None
    assert (opened.method, opened.address) == ("password", "127.0.0.1")
    assert opened.user_agent == "Browser/1"


@pytest.mark.parametrize("browser", ["", "x" * 10_000, "ÿþ", "<script>", "'; DROP TABLE users --"])
def test_any_browser_may_call_itself_anything(app: Flask, person: Person, browser: str) -> None:
    headers = {"User-Agent": browser}
    assert log_in(app, person.email, PASSWORD, headers=headers).status_code == 200
    with main_session() as session:
        told = session.scalars(
            select(UserSession.user_agent).where(UserSession.user_id == person.user_id)
        ).all()
    assert browser[:500] in told


def test_addresses_know_no_capitals(app: Flask, person: Person) -> None:
    assert log_in(app, person.email.upper(), PASSWORD).status_code == 200


def test_passwords_do(app: Flask, person: Person) -> None:
    refusal(log_in(app, person.email, PASSWORD.upper()), 401)
    refusal(log_in(app, person.email, PASSWORD + " "), 401)


def test_each_login_is_a_session_of_its_own(app: Flask, person: Person) -> None:
    first, second = person.again(), person.again()
    assert first.tokens["refresh_token"] != second.tokens["refresh_token"]
    assert first.post("/api/auth/logout").status_code == 204
    assert second.get("/api/users/me").status_code == 200


def test_a_hash_with_old_parameters_is_renewed(settings: Settings, person: Person) -> None:
    before = password_hash(person.user_id)
    with another_app(settings, password_hash_passes=2) as stricter:
        refusal(log_in(stricter, person.email, "wrong"), 401)
        assert password_hash(person.user_id) == before
        assert log_in(stricter, person.email, PASSWORD).status_code == 200
        after = password_hash(person.user_id)
        assert after is not None
        assert "t=2" in after
        assert log_in(stricter, person.email, PASSWORD).status_code == 200
        assert password_hash(person.user_id) == after


def test_a_hash_of_today_is_left_alone(app: Flask, person: Person) -> None:
    before = password_hash(person.user_id)
    assert log_in(app, person.email, PASSWORD).status_code == 200
    assert password_hash(person.user_id) == before


def test_an_inactive_account_is_out_at_the_next_request(app: Flask, person: Person) -> None:
    assert person.get("/api/users/me").status_code == 200
    change(person, active=False)
    refusal(person.get("/api/users/me"), 401)
    body = {"refresh_token": person.tokens["refresh_token"]}
    refusal(app.test_client().post("/api/auth/refresh", json=body), 401)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"password": PASSWORD}, "email"),
        ({"email": "alice@example.com"}, "password"),
        ({"email": "no address", "password": "x"}, "email"),
        ({"email": "alice@example.com", "password": ""}, "password"),
        ({"email": "alice@example.com", "password": "x" * 257}, "password"),
        ({"email": "a" * 250 + "@example.com", "password": "x"}, "email"),
        ({"email": "alice@example.com", "password": 7}, "password"),
        ({"email": ["alice@example.com"], "password": "x"}, "email"),
        ({"email": "alice@example.com", "password": "x", "admin": True}, "admin"),
    ],
)
def test_a_malformed_login_names_the_field(app: Flask, body: object, field: str) -> None:
    problem = refusal(app.test_client().post("/api/auth/login", json=body), 422, "invalid_payload")
    assert set(problem["errors"]) == {field}


def test_me(cast: Cast) -> None:
    answer = cast.alice.get("/api/users/me")
    me = answer.get_json()
    assert set(me) == {
        "id",
        "email",
        "email_verified",
        "name",
        "active",
        "created_at",
        "updated_at",
    }
    assert (me["id"], me["email"]) == (str(cast.alice.user_id), cast.alice.email)


def test_passwords_match_only_their_own_hash(settings: Settings) -> None:
    passwords = Passwords(settings)
    hashed = passwords.hash("päßword")
    assert hashed.startswith("$argon2id$")
    assert passwords.hash("päßword") != hashed
    assert passwords.matches(hashed, "päßword")
    assert not passwords.matches(hashed, "passwort")
    assert not passwords.matches(None, "nobody's password")
    for broken in ("", "plain", "$argon2id$v=19$m=32"):
        assert not passwords.matches(broken, "plain")
