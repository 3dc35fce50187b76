"""What is told of signing in: in the trail although the answer is a refusal, and in the log."""

from typing import Any

import jwt
import pytest
from flask import Flask

from app.core import ids
from tests.cast import PASSWORD, Person, new_person
from tests.core.answers import refusal
from tests.domains.identity.accounts import change
from tests.domains.identity.test_refresh import end_the_grace, refresh
from tests.domains.identity.trail import listening, logged, recorded


@pytest.fixture
def alice(context: Flask) -> Person:
    return new_person(context, "Alice")


def session_of(person: Person) -> str:
    claims: dict[str, Any] = jwt.decode(
        person.tokens["access_token"], options={"verify_signature": False}
    )
    return str(claims["sid"])


def log_in(app: Flask, email: str, password: str) -> Any:
    body = {"email": email, "password": password}
    return app.test_client().post("/api/auth/login", json=body)


def line_of(caplog: pytest.LogCaptureFixture, kind: str) -> dict[str, Any]:
    (line,) = logged(caplog, kind)
    return line


def test_a_login(app: Flask, alice: Person, caplog: pytest.LogCaptureFixture) -> None:
    with listening(caplog):
        again = alice.again()
    (entry,) = recorded(session_of(again))
    assert (entry.type, entry.address) == ("session.created", "127.0.0.1")
    assert entry.details == {"user_id": str(alice.user_id), "method": "password"}
    line = line_of(caplog, "session.created")
    assert (line["outcome"], line["address"]) == ("success", "127.0.0.1")
    assert (str(line["user"]), str(line["session"])) == (str(alice.user_id), session_of(again))


@pytest.mark.parametrize(
    ("reason", "values", "password"),
    [
        ("wrong_password", {}, "a guess"),
        ("inactive", {"active": False}, PASSWORD),
        ("no_password", {"password_hash": None}, PASSWORD),
    ],
)
def test_a_refused_login_is_there_after_the_401(
    *,
    app: Flask,
    alice: Person,
    caplog: pytest.LogCaptureFixture,
    reason: str,
    values: dict[str, object],
    password: str,
) -> None:
    change(alice, name="Alice", **values)
    with listening(caplog):
        answer = log_in(app, alice.email, password)
    refusal(answer, 401)
    line = line_of(caplog, "login.failed")
    assert (line["outcome"], line["reason"]) == ("refused", reason)
    assert line["user"] == alice.user_id
    (entry,) = recorded(line["account"], "login.failed")
    assert entry.details == {"user_id": str(alice.user_id), "reason": reason}
    assert entry.request_id == answer.headers["X-Request-Id"]


def test_nobodys_address_is_not_told_in_clear(
    app: Flask, context: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    nobody = f"{ids.new_id().hex}@example.com"
    with listening(caplog):
        refusal(log_in(app, nobody, "a secret guess"), 401)
        refusal(log_in(app, nobody.upper(), "a secret guess"), 401)
    lines = logged(caplog, "login.failed")
    assert [line["reason"] for line in lines] == ["unknown_account"] * 2
    assert len({line["account"] for line in lines}) == 1, "the same person again"
    assert len(recorded(lines[0]["account"])) == 2
    told = str([vars(record) for record in caplog.records])
    for secret in (nobody, nobody.partition("@")[0], "a secret guess"):
        assert secret not in told


def test_a_logout(alice: Person, caplog: pytest.LogCaptureFixture) -> None:
    phone = alice.again()
    with listening(caplog):
        assert phone.post("/api/auth/logout").status_code == 204
    (_, entry) = recorded(session_of(phone))
    assert (entry.type, entry.user_id) == ("session.revoked", alice.user_id)
    assert entry.details == {"user_id": str(alice.user_id), "reason": "logged_out"}
    assert line_of(caplog, "session.revoked")["reason"] == "logged_out"


def test_ending_sessions(alice: Person) -> None:
    phone, tablet, laptop = alice.again(), alice.again(), alice.again()
    assert alice.delete(f"/api/auth/sessions/{session_of(phone)}").status_code == 204
    assert alice.delete("/api/auth/sessions").get_json() == {"ended": 2}
    for ended in (phone, tablet, laptop):
        (entry,) = recorded(session_of(ended), "session.revoked")
        assert entry.details["reason"] == "ended"
        assert str(entry.session_id) == session_of(alice)
    assert recorded(session_of(alice), "session.revoked") == []


def test_a_change_of_password(alice: Person, caplog: pytest.LogCaptureFixture) -> None:
    phone = alice.again()
    body = {"current_password": PASSWORD, "new_password": "an even longer horse"}
    with listening(caplog):
        assert alice.post("/api/users/me/password", json=body).status_code == 204
    (entry,) = recorded(alice.user_id, "password.changed")
    assert entry.user_id == alice.user_id
    (ended,) = recorded(session_of(phone), "session.revoked")
    assert ended.details["reason"] == "password_changed"
    assert line_of(caplog, "password.changed")["user"] == alice.user_id
    assert "horse" not in str([vars(record) for record in caplog.records])


def test_a_refused_change_of_password_is_there_after_the_403(
    alice: Person, caplog: pytest.LogCaptureFixture
) -> None:
    body = {"current_password": "a guess", "new_password": "an even longer horse"}
    with listening(caplog):
        refusal(alice.post("/api/users/me/password", json=body), 403)
    (entry,) = recorded(alice.user_id, "password.change_refused")
    assert str(entry.session_id) == session_of(alice)
    assert line_of(caplog, "password.change_refused")["outcome"] == "refused"


def test_a_replay_is_there_after_the_401(
    app: Flask, alice: Person, caplog: pytest.LogCaptureFixture
) -> None:
    first = alice.tokens["refresh_token"]
    assert refresh(app, first).status_code == 200
    end_the_grace(alice.tokens)
    with listening(caplog):
        refusal(refresh(app, first), 401)
        refusal(refresh(app, first), 401)
    kinds = [entry.type for entry in recorded(session_of(alice))]
    assert kinds == ["session.created", "refresh.replayed", "session.revoked", "refresh.replayed"]
    (revoked,) = recorded(session_of(alice), "session.revoked")
    assert revoked.details["reason"] == "replayed"
    assert line_of(caplog, "session.revoked")["reason"] == "replayed"
    assert {line["outcome"] for line in logged(caplog, "refresh.replayed")} == {"refused"}


def test_refreshes_are_logged_and_not_recorded(
    app: Flask, alice: Person, caplog: pytest.LogCaptureFixture
) -> None:
    with listening(caplog):
        answer = refresh(app, alice.tokens["refresh_token"])
        refusal(refresh(app, "made up"), 401)
        alice.post("/api/auth/logout")
        refusal(refresh(app, answer.get_json()["refresh_token"]), 401)
    assert str(line_of(caplog, "session.refreshed")["session"]) == session_of(alice)
    assert [line["reason"] for line in logged(caplog, "refresh.rejected")] == [
        "unknown",
        "session_ended",
    ]
    kinds = {entry.type for entry in recorded(session_of(alice))}
    assert kinds == {"session.created", "session.revoked"}
    told = str([vars(record) for record in caplog.records])
    assert answer.get_json()["refresh_token"] not in told
    assert "made up" not in told


def test_a_line_is_written_for_what_was_committed_alone(
    app: Flask, alice: Person, caplog: pytest.LogCaptureFixture
) -> None:
    """A session that a failure took back was never created."""
    with listening(caplog):
        change(alice, password_hash="$argon2id$broken")
        refusal(log_in(app, alice.email, PASSWORD), 401)
    assert logged(caplog, "session.created") == []
