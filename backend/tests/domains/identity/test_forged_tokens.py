"""No forged token opens anything, and none of them is an error of ours."""

import pytest
from flask import Flask

from app.core.pages import current_cursors
from app.core.tokens import current_keys
from app.settings import Settings
from tests.cast import Cast
from tests.core.answers import refusal
from tests.domains.identity.forgery import FORGERIES, Forge


@pytest.fixture
def forge(context: Flask, settings: Settings, cast: Cast) -> Forge:
    return Forge(current_keys().signing_key(), settings.public_url, cast.alice, cast.mallory)


def test_the_control_is_accepted(app: Flask, forge: Forge) -> None:
    """What every forgery changes is good before it is changed."""
    for token in (forge.with_claims(), forge.with_header(), forge.genuine):
        headers = {"Authorization": f"Bearer {token}"}
        assert app.test_client().get("/api/users/me", headers=headers).status_code == 200


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forgery_is_refused(app: Flask, cast: Cast, forge: Forge, forgery: str) -> None:
    headers = {"Authorization": FORGERIES[forgery](forge)}
    for path in ("/api/users/me", cast.acme.documents):
        answer = app.test_client().get(path, headers=headers)
        refusal(answer, 401, "unauthenticated")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_no_header_is_refused(app: Flask) -> None:
    refusal(app.test_client().get("/api/users/me"), 401, "unauthenticated")


@pytest.mark.parametrize("name", ["access_token", "jwt", "token", "access_token_cookie"])
def test_a_token_counts_in_its_header_alone(app: Flask, cast: Cast, name: str) -> None:
    client, token = app.test_client(), cast.alice.tokens["access_token"]
    client.set_cookie(name, token)
    refusal(client.get("/api/users/me", query_string={name: token}), 401)
    refusal(client.get("/api/users/me", json={name: token}), 401)


def test_other_things_that_we_sign_are_no_tokens(app: Flask, cast: Cast, forge: Forge) -> None:
    with app.app_context():
        cursor = current_cursors().dump(cast.alice.user_id)
    refusal(
        app.test_client().get("/api/users/me", headers={"Authorization": f"Bearer {cursor}"}), 401
    )


def test_the_scheme_knows_no_capitals(app: Flask, forge: Forge) -> None:
    """RFC 9110, section 11.1."""
    headers = {"Authorization": f"bearer {forge.genuine}"}
    assert app.test_client().get("/api/users/me", headers=headers).status_code == 200
