"""The keys that sign access tokens, and what is published of them."""

import time
from uuid import UUID

import jwt
import pytest
from flask import Flask, current_app
from sqlalchemy import Connection, event, update

from app.core.db import db, main_session
from app.core.tokens import AUDIENCE, current_keys
from app.domains.identity.models import SigningKeyRow
from app.domains.identity.service.keys import DatabaseKeyRing, ensure_signing_key
from app.settings import Settings
from tests.cast import Cast
from tests.core.apps import another_app, elsewhere


def published(app: Flask) -> list[dict[str, str]]:
    answer = app.test_client().get("/.well-known/jwks.json")
    assert answer.status_code == 200
    keys: list[dict[str, str]] = answer.get_json()["keys"]
    return keys


def test_no_private_part_is_published(app: Flask) -> None:
    keys = published(app)
    assert keys
    for key in keys:
        assert set(key) == {"kid", "use", "alg", "kty", "n", "e"}
        assert (key["kty"], key["alg"], key["use"]) == ("RSA", "RS256", "sig")


def test_the_published_key_alone_verifies_a_token(
    app: Flask, settings: Settings, cast: Cast
) -> None:
    token = cast.alice.tokens["access_token"]
    kid = jwt.get_unverified_header(token)["kid"]
    key = next(key for key in published(app) if key["kid"] == kid)
    claims = jwt.decode(
        token,
        jwt.PyJWK(key).key,
        algorithms=["RS256"],
        audience=AUDIENCE,
        issuer=settings.public_url,
        options={"require": ["exp", "iat", "sub", "sid", "type", "aud", "iss", "jti"]},
    )
    assert claims["sub"] == str(cast.alice.user_id)
    assert claims["type"] == "access"
    assert str(UUID(claims["sid"])) == claims["sid"]


def test_the_private_key_is_stored_sealed(context: Flask) -> None:
    with main_session() as session:
        rows = session.query(SigningKeyRow).all()
    for row in rows:
        assert "PRIVATE" not in row.sealed_private_key
        assert "PRIVATE" not in row.public_key


def test_the_first_key_is_made_once(context: Flask) -> None:
    with main_session() as session:
        assert not ensure_signing_key(session, current_app.extensions["secrets"])


def test_a_new_key_is_known_to_running_processes(
    app: Flask, settings: Settings, cast: Cast
) -> None:
    assert cast.alice.get("/api/users/me").status_code == 200
    with another_app(settings) as newer, newer.app_context():
        with main_session() as session:
            session.execute(update(SigningKeyRow).values(state="retiring"))
            assert ensure_signing_key(session, newer.extensions["secrets"])
        new = elsewhere(cast.alice, newer).again()
        assert elsewhere(cast.alice, newer).get("/api/users/me").status_code == 200
    new = elsewhere(new, app)
    deadline = time.monotonic() + 10
    while new.get("/api/users/me").status_code != 200:  # it looks at most once a second
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert cast.alice.get("/api/users/me").status_code == 200
    assert len(published(app)) >= 2


def test_forged_names_of_keys_do_not_reach_the_database_each_time(
    context: Flask, settings: Settings
) -> None:
    reads = []

    def count(_connection: Connection, _cursor: object, statement: str, *_: object) -> None:
        if "signing_keys" in statement:
            reads.append(statement)

    ring = DatabaseKeyRing(current_app.extensions["secrets"], settings)
    event.listen(db.engine, "before_cursor_execute", count)
    try:
        started = time.monotonic()
        assert [ring.public_key(f"forged{number}") for number in range(200)] == [None] * 200
        seconds = time.monotonic() - started
    finally:
        event.remove(db.engine, "before_cursor_execute", count)
    assert len(reads) <= 2 + seconds / ring.at_most_every


def test_a_private_key_is_not_shown(context: Flask) -> None:
    key = current_keys().signing_key()
    assert "PRIVATE" not in repr(key)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_keys_are_not_changed_over_http(app: Flask, method: str) -> None:
    answer = app.test_client().open("/.well-known/jwks.json", method=method)
    assert answer.status_code == 405
