"""Signing out takes effect at the next request, in every process."""

from flask import Flask

from app.settings import Settings
from tests.cast import Cast
from tests.core.answers import refusal
from tests.core.apps import another_app, elsewhere


def test_a_stranger_ends_nobodys_session(app: Flask, cast: Cast) -> None:
    refusal(app.test_client().post("/api/auth/logout"), 401)
    assert cast.mallory.again().post("/api/auth/logout").status_code == 204
    assert cast.alice.get("/api/users/me").status_code == 200


def test_every_process_refuses_the_session_from_then_on(
    app: Flask, settings: Settings, cast: Cast
) -> None:
    here = cast.alice.again()
    with another_app(settings) as other:
        there = elsewhere(here, other)
        assert there.get("/api/users/me").status_code == 200
        assert here.post("/api/auth/logout").status_code == 204
        for person in (there, here):
            for path in ("/api/users/me", cast.acme.documents):
                refusal(person.get(path), 401)
            refusal(person.post("/api/auth/logout"), 401)
        body = {"refresh_token": here.tokens["refresh_token"]}
        for instance in (app, other):
            refusal(instance.test_client().post("/api/auth/refresh", json=body), 401)


def test_it_answers_with_nothing(cast: Cast) -> None:
    answer = cast.bob.again().post("/api/auth/logout")
    assert (answer.status_code, answer.data) == (204, b"")
