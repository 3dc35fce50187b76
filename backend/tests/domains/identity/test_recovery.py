"""Verifying an address and replacing a forgotten password, by the links of mails."""

import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from pydantic import SecretStr
from sqlalchemy import select, text, update

from app.core import clock, ids
from app.core.db import main_session, platform_session
from app.core.tasks import DEFINITIONS
from app.domains.audit.models import PlatformEntry
from app.domains.identity.models import AccountToken, SentMail, User
from app.domains.identity.service.passwords import Passwords
from app.domains.jobs.models import Job
from app.settings import Settings
from tests.cast import PASSWORD, Person, new_person
from tests.core.answers import refusal
from tests.core.apps import another_app
from tests.core.canaries import holds
from tests.core.work import work
from tests.post import PostOffice, token_of

NEW = "an even longer horse"
ASKING = ("/api/auth/forgot-password", "/api/auth/verify-email/resend")


@pytest.fixture
def ursula(context: Flask) -> Person:
    return new_person(context, "Ursula")


@pytest.fixture
def bob(context: Flask) -> Person:
    """His address is not verified yet."""
    return new_person(context, "Bob", verified=False)


def ask(app: Flask, path: str, email: str) -> Any:
    return app.test_client().post(path, json={"email": email})


def forgot(app: Flask, person: Person) -> None:
    assert ask(app, "/api/auth/forgot-password", person.email).status_code == 202


def reset(app: Flask, token: str, password: str = NEW) -> Any:
    body = {"token": token, "new_password": password}
    return app.test_client().post("/api/auth/reset-password", json=body)


def verify(app: Flask, token: str) -> Any:
    return app.test_client().post("/api/auth/verify-email", json={"token": token})


def log_in(app: Flask, person: Person, password: str) -> int:
    body = {"email": person.email, "password": password}
    return app.test_client().post("/api/auth/login", json=body).status_code


def age(person: Person, by: timedelta) -> None:
    """All mails to the person were sent so much earlier."""
    with main_session() as session:
        session.execute(
            update(SentMail)
            .where(SentMail.address == person.email)
            .values(created_at=SentMail.created_at - by)
        )


def test_a_forgotten_password_is_replaced_and_every_session_ends(
    app: Flask, post: PostOffice, ursula: Person
) -> None:
    elsewhere = ursula.again()
    forgot(app, ursula)
    assert reset(app, post.token(ursula.email)).status_code == 204
    for session in (ursula, elsewhere):
        refusal(session.get("/api/users/me"), 401)
    refusal(
        app.test_client().post(
            "/api/auth/refresh", json={"refresh_token": ursula.tokens["refresh_token"]}
        ),
        401,
    )
    assert (log_in(app, ursula, PASSWORD), log_in(app, ursula, NEW)) == (401, 200)


def test_a_reset_is_in_the_trail(app: Flask, post: PostOffice, bob: Person) -> None:
    forgot(app, bob)
    reset(app, post.token(bob.email))
    with platform_session() as session:
        query = select(PlatformEntry).where(PlatformEntry.target == str(bob.user_id))
        entries = session.scalars(query.order_by(PlatformEntry.id)).all()
    assert [entry.type for entry in entries] == ["email.verified", "password.reset"]


def test_a_link_works_once(app: Flask, post: PostOffice, ursula: Person) -> None:
    forgot(app, ursula)
    token = post.token(ursula.email)
    assert reset(app, token).status_code == 204
    refusal(reset(app, token, "a third password"), 404, "token_invalid")
    assert log_in(app, ursula, NEW) == 200


def test_one_reset_ends_all_other_links(app: Flask, post: PostOffice, ursula: Person) -> None:
    forgot(app, ursula)
    post.collect()
    age(ursula, timedelta(minutes=2))
    forgot(app, ursula)
    first, second = (token_of(mail) for mail in post.to(ursula.email))
    assert reset(app, first).status_code == 204
    refusal(reset(app, second, "a third password"), 404, "token_invalid")


def test_a_changed_password_ends_the_links(app: Flask, post: PostOffice, ursula: Person) -> None:
    forgot(app, ursula)
    token = post.token(ursula.email)
    ursula.post("/api/users/me/password", json={"current_password": PASSWORD, "new_password": NEW})
    refusal(reset(app, token, "a third password"), 404, "token_invalid")


def test_of_twenty_at_once_one_wins(app: Flask, post: PostOffice, ursula: Person) -> None:
    forgot(app, ursula)
    token = post.token(ursula.email)
    passwords = [f"password number {number}" for number in range(20)]
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda each: reset(app, token, each).status_code, passwords))
    assert sorted(answers) == [204] + [404] * 19
    assert log_in(app, ursula, passwords[answers.index(204)]) == 200


def test_an_expired_link_is_refused(app: Flask, post: PostOffice, ursula: Person) -> None:
    forgot(app, ursula)
    token = post.token(ursula.email)
    with main_session() as session:
        session.execute(
            update(AccountToken)
            .where(AccountToken.user_id == ursula.user_id)
            .values(expires_at=clock.now())
        )
    refusal(reset(app, token), 404, "token_invalid")
    assert log_in(app, ursula, PASSWORD) == 200


def test_a_token_is_for_its_purpose_only(
    app: Flask, post: PostOffice, ursula: Person, bob: Person
) -> None:
    forgot(app, ursula)
    ask(app, "/api/auth/verify-email/resend", bob.email)
    refusal(verify(app, post.token(ursula.email)), 404, "token_invalid")
    refusal(reset(app, post.token(bob.email)), 404, "token_invalid")
    for nonsense in ("x", "\u00e9" * 43, ursula.tokens["refresh_token"]):
        refusal(reset(app, nonsense), 404, "token_invalid")


def test_a_link_to_a_former_address_proves_nothing(
    app: Flask, post: PostOffice, bob: Person
) -> None:
    ask(app, "/api/auth/verify-email/resend", bob.email)
    token = post.token(bob.email)
    with main_session() as session:
        session.execute(update(User).where(User.id == bob.user_id).values(email=f"new.{bob.email}"))
    refusal(verify(app, token), 404, "token_invalid")
    assert bob.get("/api/users/me").get_json()["email_verified"] is False


def test_an_inactive_account_gets_no_link_and_uses_none(
    app: Flask, post: PostOffice, ursula: Person
) -> None:
    forgot(app, ursula)
    token = post.token(ursula.email)
    age(ursula, timedelta(hours=2))
    with main_session() as session:
        session.execute(update(User).where(User.id == ursula.user_id).values(active=False))
    forgot(app, ursula)
    assert len(post.to(ursula.email)) == 1
    refusal(reset(app, token), 404, "token_invalid")


@pytest.mark.parametrize("password", ["", "1234567", "x" * 257, None, 12345678])
def test_a_password_that_will_not_do_uses_no_link(
    app: Flask, post: PostOffice, ursula: Person, password: Any
) -> None:
    forgot(app, ursula)
    token = post.token(ursula.email)
    assert "new_password" in refusal(reset(app, token, password), 422)["errors"]
    assert reset(app, token).status_code == 204


def test_an_address_is_verified(app: Flask, post: PostOffice, bob: Person) -> None:
    assert bob.get("/api/users/me").get_json()["email_verified"] is False
    ask(app, "/api/auth/verify-email/resend", bob.email.upper())
    token = post.token(bob.email)
    assert verify(app, token).status_code == 204
    assert bob.get("/api/users/me").get_json()["email_verified"] is True
    refusal(verify(app, token), 404, "token_invalid")


def test_a_reset_proves_the_address_too(app: Flask, post: PostOffice, bob: Person) -> None:
    forgot(app, bob)
    reset(app, post.token(bob.email))
    with main_session() as session:
        user = session.get(User, bob.user_id)
        assert user is not None
        assert user.email_verified


def test_a_verified_address_gets_no_link_for_it(
    app: Flask, post: PostOffice, ursula: Person
) -> None:
    ask(app, "/api/auth/verify-email/resend", ursula.email)
    assert post.to(ursula.email) == []


def test_the_unverified_sign_in_and_make_no_tenant(app: Flask, bob: Person) -> None:
    answer = bob.post("/api/tenants", json={"name": "Initech", "slug": "unverified"})
    refusal(answer, 403, "email_unverified")
    assert bob.get("/api/tenants").get_json()["items"] == []


@pytest.mark.parametrize("path", ASKING)
def test_known_and_unknown_get_the_same_answer_for_the_same_work(
    app: Flask, post: PostOffice, ursula: Person, bob: Person, path: str
) -> None:
    answers, works = [], []
    ask(app, path, "warms.up@example.com")
    for email in (ursula.email, bob.email, "nobody.at.all@example.com"):
        with work(app) as done:
            answer = ask(app, path, email)
        headers = {k: v for k, v in answer.headers if k not in {"X-Request-Id", "Date"}}
        answers.append((answer.status_code, answer.data, headers))
        works.append(done)
    assert answers[0] == answers[1] == answers[2]
    assert works[0]
    assert works[0] == works[1] == works[2]
    assert post.to("nobody.at.all@example.com") == []


@pytest.mark.parametrize("path", ASKING)
def test_asking_is_throttled_for_known_and_unknown_alike(
    settings: Settings, post: PostOffice, ursula: Person, path: str
) -> None:
    with another_app(settings, mail_requests_per_account=1) as strict:
        for email in (ursula.email, f"nobody.{ursula.email}"):
            assert ask(strict, path, email).status_code == 202
            refusal(ask(strict, path, email.upper()), 429, "too_many_requests")


def test_using_a_link_is_throttled_before_a_password_is_hashed(settings: Settings) -> None:
    own_counters = SecretStr(ids.new_token())
    with another_app(settings, login_attempts_per_address=1, secret_key=own_counters) as strict:
        refusal(reset(strict, "unknown"), 404)
        with work(strict) as done:
            refusal(reset(strict, "unknown"), 429)
        assert "hash" not in done


@pytest.mark.parametrize("path", ASKING)
@pytest.mark.parametrize("email", ["", "nobody", "a@b\r\nBcc: c@d.example", None, ["a@b.example"]])
def test_what_is_no_address_is_refused(app: Flask, path: str, email: Any) -> None:
    refusal(ask(app, path, email), 422)


def test_an_address_gets_one_mail_a_minute_and_five_an_hour(
    app: Flask, post: PostOffice, ursula: Person
) -> None:
    for minute in range(8):
        forgot(app, ursula)
        forgot(app, ursula)
        assert len(post.to(ursula.email)) == min(minute + 1, 5)
        age(ursula, timedelta(minutes=1))
    age(ursula, timedelta(hours=1))
    forgot(app, ursula)
    assert len(post.to(ursula.email)) == 6


def test_of_many_jobs_at_once_one_sends(app: Flask, post: PostOffice, ursula: Person) -> None:
    for _ in range(20):
        forgot(app, ursula)
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda _: post.collect(), range(20)))
    assert len(post.to(ursula.email)) == 1


def test_a_mail_that_was_not_sent_leaves_nothing(
    app: Flask, post: PostOffice, ursula: Person, bob: Person
) -> None:
    """Neither a token nor a count: the next attempt is the first."""
    post.out_of_order = True
    forgot(app, ursula)
    assert post.to(ursula.email) == []
    post.out_of_order = False
    with main_session() as session:
        for table, column in (("account_tokens", "email"), ("sent_mails", "address")):
            rows = session.execute(
                text(f"SELECT * FROM {table} WHERE {column} = :address"),
                {"address": ursula.email},
            )
            assert rows.all() == []
    with platform_session() as session:
        job = session.scalars(
            select(Job).where(Job.arguments["user_id"].astext == str(ursula.user_id))
        ).one()
        assert (job.state, job.attempts) == ("waiting", 1)
        job.due_at = clock.now()
    assert reset(app, post.token(ursula.email)).status_code == 204


def test_what_is_over_is_forgotten(
    app: Flask, post: PostOffice, ursula: Person, bob: Person
) -> None:
    for person in (ursula, bob):
        forgot(app, person)
    fresh = post.token(bob.email)
    post.collect()
    age(ursula, timedelta(hours=2))
    with main_session() as session:
        session.execute(
            update(AccountToken)
            .where(AccountToken.user_id == ursula.user_id)
            .values(expires_at=clock.now())
        )
    with main_session() as session:
        DEFINITIONS["identity.forget_mails"].run(session)
    with main_session() as session:
        tokens = select(AccountToken.email).where(AccountToken.email.in_([ursula.email, bob.email]))
        assert session.scalars(tokens).all() == [bob.email]
        counted = select(SentMail.address).where(SentMail.address.in_([ursula.email, bob.email]))
        assert session.scalars(counted).all() == [bob.email]
    assert reset(app, fresh).status_code == 204


def test_a_token_is_in_no_log_and_in_no_table(
    app: Flask,
    post: PostOffice,
    ursula: Person,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    forgot(app, ursula)
    token = post.token(ursula.email)
    assert reset(app, token).status_code == 204
    refusal(reset(app, token), 404)
    secrets = (token, NEW)
    assert all(secret not in caplog.text for secret in secrets)
    assert not any(holds(settings, secret) for secret in secrets)
    assert holds(settings, ursula.email), "the control"


def test_a_session_cannot_begin_with_a_password_that_is_just_replaced(
    app: Flask, post: PostOffice, ursula: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reset ends all sessions; a sign-in that was checking the old password adds none."""
    forgot(app, ursula)
    token = post.token(ursula.email)
    original = Passwords.matches

    def slow(self: Passwords, password_hash: str | None, password: str) -> bool:
        matches = original(self, password_hash, password)
        answers.append(reset(app, token).status_code)
        return matches

    answers: list[int] = []
    monkeypatch.setattr(Passwords, "matches", slow)
    assert log_in(app, ursula, PASSWORD) == 401
    assert answers[0] == 204
