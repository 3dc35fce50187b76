"""Refresh tokens: each is used once, and a replay ends the session."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from threading import Barrier
from typing import Any

import jwt
import pytest
from flask import Flask
from sqlalchemy import func, select, update
from werkzeug.test import TestResponse

from app.core import clock
from app.core.db import main_session
from app.domains.identity.models import RefreshToken, UserSession
from app.settings import Settings
from tests.cast import Cast, Person, new_person
from tests.core.answers import refusal
from tests.core.apps import another_app


def refresh(app: Flask, token: str) -> TestResponse:
    return app.test_client().post("/api/auth/refresh", json={"refresh_token": token})


def session_id(tokens: dict[str, Any]) -> str:
    claims = jwt.decode(tokens["access_token"], options={"verify_signature": False})
    return str(claims["sid"])


def revoked_at(tokens: dict[str, Any]) -> datetime | None:
    with main_session() as session:
        statement = select(UserSession.revoked_at).where(UserSession.id == session_id(tokens))
        return session.scalars(statement).one()


def chain_length(tokens: dict[str, Any]) -> int:
    with main_session() as session:
        statement = select(func.count()).where(RefreshToken.session_id == session_id(tokens))
        return session.scalars(statement).one()


def end_the_grace(tokens: dict[str, Any]) -> None:
    """As if the uses of this session's tokens had been a minute ago."""
    with main_session() as session:
        session.execute(
            update(RefreshToken)
            .where(RefreshToken.session_id == session_id(tokens), RefreshToken.used_at.is_not(None))
            .values(used_at=clock.now() - timedelta(minutes=1))
        )


@pytest.fixture
def person(context: Flask) -> Person:
    return new_person(context, "Alice")


@pytest.mark.parametrize("token", ["unknown", "x" * 256, "ÿ日本", "' OR 1=1 --"])
def test_a_made_up_token_is_refused(app: Flask, token: str) -> None:
    refusal(refresh(app, token), 401, "refresh_refused")


def test_an_access_token_refreshes_nothing(app: Flask, cast: Cast) -> None:
    refusal(refresh(app, cast.alice.tokens["access_token"]), 422)


def test_a_refresh_gives_a_new_pair_for_the_same_session(app: Flask, person: Person) -> None:
    answer = refresh(app, person.tokens["refresh_token"])
    assert answer.status_code == 200
    new = answer.get_json()
    assert new["refresh_token"] != person.tokens["refresh_token"]
    assert new["access_token"] != person.tokens["access_token"]
    assert session_id(new) == session_id(person.tokens)
    assert person.get("/api/users/me").status_code == 200  # the older one lives its short life
    person.tokens = new
    assert person.get("/api/users/me").status_code == 200
    assert refresh(app, new["refresh_token"]).status_code == 200


def test_a_refresh_does_not_prolong_the_session(app: Flask, person: Person) -> None:
    def expiry() -> datetime:
        with main_session() as session:
            found = session.get_one(UserSession, session_id(person.tokens))
        return found.expires_at

    before = expiry()
    assert refresh(app, person.tokens["refresh_token"]).status_code == 200
    assert expiry() == before


def test_twenty_parallel_uses_have_one_successor(app: Flask, person: Person) -> None:
    start = Barrier(20)

    def use(_: int) -> TestResponse:
        start.wait(10)
        return refresh(app, person.tokens["refresh_token"])

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(use, range(20), timeout=30))
    assert [answer.status_code for answer in answers] == [200] * 20
    successors = {answer.get_json()["refresh_token"] for answer in answers}
    assert len(successors) == 1
    assert chain_length(person.tokens) == 2
    assert refresh(app, successors.pop()).status_code == 200


def test_within_the_grace_a_repeat_gets_the_same_successor(app: Flask, person: Person) -> None:
    first = refresh(app, person.tokens["refresh_token"]).get_json()
    second = refresh(app, person.tokens["refresh_token"]).get_json()
    assert first["refresh_token"] == second["refresh_token"]
    assert revoked_at(person.tokens) is None


def test_a_replay_after_the_grace_ends_the_session_although_it_is_refused(
    app: Flask, person: Person
) -> None:
    newest = refresh(app, person.tokens["refresh_token"]).get_json()
    end_the_grace(person.tokens)
    refusal(refresh(app, person.tokens["refresh_token"]), 401, "refresh_refused")
    assert revoked_at(person.tokens) is not None
    # The thief's and the owner's tokens alike.
    refusal(refresh(app, newest["refresh_token"]), 401, "refresh_refused")
    refusal(person.get("/api/users/me"), 401)
    person.tokens = newest
    refusal(person.get("/api/users/me"), 401)


def test_a_replay_ends_that_session_alone(app: Flask, person: Person) -> None:
    other = person.again()
    refresh(app, person.tokens["refresh_token"])
    end_the_grace(person.tokens)
    refusal(refresh(app, person.tokens["refresh_token"]), 401)
    assert other.get("/api/users/me").status_code == 200
    assert refresh(app, other.tokens["refresh_token"]).status_code == 200


def test_a_replay_of_the_first_of_three_ends_the_session(app: Flask, person: Person) -> None:
    first = person.tokens["refresh_token"]
    second = refresh(app, first).get_json()["refresh_token"]
    assert refresh(app, second).status_code == 200
    end_the_grace(person.tokens)
    refusal(refresh(app, first), 401)
    assert revoked_at(person.tokens) is not None


def test_without_grace_the_second_use_is_a_replay(settings: Settings, person: Person) -> None:
    with another_app(settings, refresh_grace_seconds=0) as strict:
        assert refresh(strict, person.tokens["refresh_token"]).status_code == 200
        refusal(refresh(strict, person.tokens["refresh_token"]), 401)
    assert revoked_at(person.tokens) is not None


def test_a_session_that_is_over_is_refused(app: Flask, person: Person) -> None:
    with main_session() as session:
        session.execute(
            update(UserSession)
            .where(UserSession.id == session_id(person.tokens))
            .values(expires_at=clock.now() - timedelta(seconds=1))
        )
    refusal(person.get("/api/users/me"), 401)
    refusal(refresh(app, person.tokens["refresh_token"]), 401, "refresh_refused")


def test_the_successor_cannot_be_computed_without_our_key(
    settings: Settings, person: Person
) -> None:
    """The same token, another installation's key: another successor, known to nobody here."""
    foreign = settings.secret_key.get_secret_value()[::-1]
    changed = {"secret_key": type(settings.secret_key)(foreign)}
    with another_app(settings) as ours, another_app(settings, **changed) as theirs:
        first = refresh(ours, person.tokens["refresh_token"]).get_json()["refresh_token"]
        guess = refresh(theirs, person.tokens["refresh_token"]).get_json()["refresh_token"]
        assert guess != first
        refusal(refresh(ours, guess), 401)


def test_nothing_that_opens_a_session_is_stored(app: Flask, person: Person) -> None:
    token = refresh(app, person.tokens["refresh_token"]).get_json()["refresh_token"]
    with main_session() as session:
        statement = select(RefreshToken).where(RefreshToken.session_id == session_id(person.tokens))
        rows = session.scalars(statement).all()
    assert len(rows) == 2
    for row in rows:
        assert len(row.token_hash) == 32
        assert token.encode() not in row.token_hash
