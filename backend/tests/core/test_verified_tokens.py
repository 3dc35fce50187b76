"""What is remembered of a token: its signature, until its time or its key ends. Nothing else."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, generate_private_key
from flask import Flask

from app.core import clock, ids, tokens
from app.core.db import main_session
from app.core.errors import Unauthenticated
from app.core.tokens import AccessClaims, SigningKey, VerifiedTokens, current_keys
from app.domains.identity.service import sessions
from tests.cast import Cast

PRIVATE = generate_private_key(65537, 2048)
CLAIMS = AccessClaims(ids.new_id(), ids.new_id())
SOON = int(clock.now().timestamp()) + 3600


class Ring:
    """Keys that a test withdraws and exchanges."""

    def __init__(self) -> None:
        self.keys: dict[str, RSAPublicKey] = {"one": PRIVATE.public_key()}

    def signing_key(self) -> SigningKey:
        return SigningKey("one", PRIVATE)

    def public_key(self, kid: str) -> RSAPublicKey | None:
        return self.keys.get(kid)

    def public_keys(self) -> dict[str, RSAPublicKey]:
        return self.keys


def remembering(ring: Ring, *, size: int = 10) -> VerifiedTokens:
    verified = VerifiedTokens(ring, size=size)
    verified.remember("token", CLAIMS, expires_at=SOON, kid="one")
    return verified


def test_what_was_verified_is_recalled() -> None:
    verified = remembering(Ring())
    assert verified.recall("token") == CLAIMS
    assert verified.recall("token ") is None
    assert verified.recall("") is None


def test_its_time_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    verified = remembering(Ring())
    for late in (SOON, SOON + 1):
        monkeypatch.setattr(clock, "now", lambda late=late: datetime.fromtimestamp(late, UTC))
        assert verified.recall("token") is None
    monkeypatch.undo()
    assert verified.recall("token") is None, "it was forgotten"


def test_its_key_ends_it() -> None:
    ring = Ring()
    verified = remembering(ring)
    ring.keys = {"one": PRIVATE.public_key()}
    assert verified.recall("token") == CLAIMS, "the same key, read anew"
    ring.keys = {"one": generate_private_key(65537, 2048).public_key()}
    assert verified.recall("token") is None
    verified = remembering(ring)
    ring.keys = {}
    assert verified.recall("token") is None
    verified.remember("token", CLAIMS, expires_at=SOON, kid="one")
    assert verified.recall("token") is None


def test_the_one_used_least_of_late_goes_first() -> None:
    verified = remembering(Ring(), size=3)
    for name in ("b", "c"):
        verified.remember(name, CLAIMS, expires_at=SOON, kid="one")
    assert verified.recall("token") == CLAIMS
    verified.remember("d", CLAIMS, expires_at=SOON, kid="one")
    known = [name for name in ("token", "b", "c", "d") if verified.recall(name)]
    assert known == ["token", "c", "d"]


def test_a_refused_token_is_never_remembered(app: Flask, context: Flask, cast: Cast) -> None:
    token = cast.alice.tokens["access_token"]
    head, body, signature = token.split(".")
    for forged in (f"{head}.{body}.{signature[:-8]}AAAAAAAA", f"{head}.{body}.", "x"):
        for _ in range(2):
            with pytest.raises(Unauthenticated):
                tokens.verify(f"Bearer {forged}")


def test_a_token_that_expires_while_it_is_remembered(
    context: Flask, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    authorization = cast.alice.headers["Authorization"]
    assert tokens.verify(authorization).user_id == cast.alice.user_id
    later = clock.now() + timedelta(days=1)
    remembered = context.extensions["verified_tokens"]
    with monkeypatch.context() as patch:
        patch.setattr(clock, "now", lambda: later)
        assert remembered.recall(authorization.removeprefix("Bearer ")) is None


def test_an_ended_session_is_refused_whatever_is_remembered(app: Flask, cast: Cast) -> None:
    again = cast.bob.again()
    assert again.get("/api/users/me").status_code == 200
    assert again.get("/api/users/me").status_code == 200
    with app.app_context():
        claims = tokens.verify(again.headers["Authorization"])
        assert current_keys().public_keys()
        with main_session(user_id=again.user_id) as session:
            sessions.log_out(session, session_id=claims.session_id)
    assert again.get("/api/users/me").status_code == 401
