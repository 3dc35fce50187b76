"""Registering: a stranger gets an account and a tenant with a proven address, and not before."""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from pydantic import SecretStr
from sqlalchemy import func, select, update

from app.core import clock, ids
from app.core.db import main_session
from app.core.tasks import DEFINITIONS
from app.domains.identity.models import User
from app.domains.tenants.models import Registration, TenantState
from app.settings import Settings
from tests.cast import Cast
from tests.core.answers import refusal
from tests.core.apps import another_app
from tests.core.canaries import holds
from tests.core.work import work
from tests.domains.tenants.ledger import tenant_row, tenants_by_slug
from tests.post import PostOffice
from tests.tenancy.laboratory import Laboratory

PASSWORD = "correct horse battery staple"
REGISTER = "/api/tenants/register"
CONFIRM = REGISTER + "/confirm"


@pytest.fixture
def email() -> str:
    return f"alice.{ids.new_id().hex}@example.com"


@pytest.fixture
def slug() -> str:
    return f"initech-{ids.new_id().hex[-12:]}"


def form(email: str, slug: str, **owner: Any) -> dict[str, Any]:
    return {
        "tenant": {"name": "Initech", "slug": slug},
        "owner": {"name": "Alice", "email": email} | owner,
    }


def register(app: Flask, email: str, slug: str, **owner: Any) -> Any:
    return app.test_client().post(REGISTER, json=form(email, slug, **owner))


def confirm(app: Flask, token: str, **more: str) -> Any:
    body = {"token": token, "password": PASSWORD} | more
    return app.test_client().post(CONFIRM, json=body)


def log_in(app: Flask, email: str, password: str = PASSWORD) -> Any:
    body = {"email": email, "password": password}
    return app.test_client().post("/api/auth/login", json=body)


def count_registrations(email: str) -> int:
    with main_session() as session:
        query = select(func.count()).where(Registration.email == email)
        return session.scalar(query) or 0


@pytest.fixture
def registered(app: Flask, context: Flask, post: PostOffice, email: str, slug: str) -> str:
    """The token of a registration."""
    assert register(app, email, slug).status_code == 202
    return post.token(email)


def test_nothing_is_there_before_the_address_is_proven(
    app: Flask, registered: str, email: str, slug: str
) -> None:
    refusal(log_in(app, email), 401)
    assert slug not in tenants_by_slug()
    with main_session() as session:
        row = session.scalars(select(Registration).where(Registration.email == email)).one()
        assert row.token_hash == ids.token_hash(registered)


def test_a_registration_makes_an_owner_a_tenant_and_a_database(
    app: Flask, registered: str, email: str, slug: str
) -> None:
    made = confirm(app, registered).get_json()
    assert (made["slug"], made["state"], made["role"]) == (slug, "active", "owner")
    token = log_in(app, email).get_json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    me = app.test_client().get("/api/users/me", headers=headers).get_json()
    assert (me["name"], me["email"], me["email_verified"]) == ("Alice", email, True)
    documents = f"/api/tenants/{made['id']}/documents"
    assert app.test_client().get(documents, headers=headers).status_code == 200


def test_neither_token_nor_password_is_in_a_log_or_a_table(
    app: Flask, settings: Settings, registered: str, email: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        assert not holds(settings, registered)
        assert confirm(app, registered).status_code == 200
    assert registered not in caplog.text
    assert not any(holds(settings, secret) for secret in (registered, PASSWORD))
    assert holds(settings, email), "the control"


def test_confirming_again_answers_the_same(app: Flask, registered: str, email: str) -> None:
    first = confirm(app, registered).get_json()
    assert confirm(app, registered, password="another password").get_json() == first
    refusal(log_in(app, email, "another password"), 401)
    assert log_in(app, email).status_code == 200


@pytest.mark.parametrize("password", ["short", "", None])
def test_the_password_is_chosen_by_whoever_follows_the_link(
    app: Flask, registered: str, email: str, password: Any
) -> None:
    refusal(confirm(app, registered, password=password), 422)
    refusal(log_in(app, email), 401)


def test_twenty_confirmations_at_once_make_one_of_each(
    app: Flask, registered: str, email: str, slug: str
) -> None:
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: confirm(app, registered), range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.get_json()["id"] for answer in answers}) == 1
    assert len(tenants_by_slug()[slug]) == 1
    with main_session() as session:
        assert session.scalar(select(func.count()).where(User.email == email)) == 1
    assert confirm(app, registered).get_json()["state"] == "active"


def test_a_database_that_could_not_be_made_can_be_retried(
    app: Flask, house: Laboratory, post: PostOffice, registered: str, email: str
) -> None:
    url = house.settings.provisioner_url.get_secret_value()
    wrong = SecretStr(url.replace(house.installation.provisioner + ":", "nobody_at_all:"))
    with another_app(house.settings, provisioner_url=wrong) as away:
        refusal(confirm(away, registered), 503, "provisioning_failed")
    assert log_in(app, email).status_code == 200
    made = confirm(app, registered).get_json()
    assert made["state"] == "active"
    assert tenant_row(UUID(made["id"])).state == TenantState.ACTIVE


def test_a_slug_that_was_taken_meanwhile_is_replaced(
    app: Flask, cast: Cast, registered: str, slug: str
) -> None:
    taken = cast.alice.post("/api/tenants", json={"name": "Faster", "slug": slug})
    assert taken.status_code == 201
    refusal(confirm(app, registered), 409, "slug_taken")
    made = confirm(app, registered, slug=f"{slug}-2").get_json()
    assert (made["slug"], made["state"]) == (f"{slug}-2", "active")
    assert confirm(app, registered, slug=f"{slug}-3").get_json()["slug"] == f"{slug}-2"


def test_an_account_is_told_and_nothing_else_happens(
    context: Flask, cast: Cast, post: PostOffice, slug: str
) -> None:
    assert register(context, cast.alice.email, slug).status_code == 202
    (mail,) = post.to(cast.alice.email)
    assert mail.subject == "You have an account already"
    assert "#token=" not in mail.text
    assert count_registrations(cast.alice.email) == 0


def test_known_and_unknown_get_the_same_answer_for_the_same_work(
    app: Flask, cast: Cast, post: PostOffice, email: str, slug: str
) -> None:
    answers, works = [], []
    register(app, f"first.{email}", slug)
    for address in (cast.alice.email, email):
        with work(app) as done:
            answer = register(app, address, slug)
        headers = {k: v for k, v in answer.headers if k not in {"X-Request-Id", "Date"}}
        answers.append((answer.status_code, answer.data, headers))
        works.append(done)
    assert answers[0] == answers[1]
    assert works[0] == works[1]
    assert works[0].count("hash") == 0


def test_what_a_stranger_typed_is_in_no_mail(
    app: Flask, post: PostOffice, email: str, slug: str
) -> None:
    """Or anybody could send anything to anybody, in our name."""
    body = form(email, slug, name="Visit https://globex.example")
    body["tenant"]["name"] = "Free money at https://globex.example"
    assert app.test_client().post(REGISTER, json=body).status_code == 202
    (mail,) = post.to(email)
    assert "globex" not in mail.subject + mail.text + (mail.html or "")
    assert slug in mail.text


def test_an_address_gets_few_mails_and_the_rest_leaves_no_row(
    app: Flask, context: Flask, post: PostOffice, email: str, slug: str
) -> None:
    for _ in range(4):
        register(app, email, slug)
    assert len(post.to(email)) == 1
    assert count_registrations(email) == 1


def test_an_expired_registration_is_none(
    app: Flask, registered: str, email: str, slug: str
) -> None:
    with main_session() as session:
        session.execute(
            update(Registration).where(Registration.email == email).values(expires_at=clock.now())
        )
    refusal(confirm(app, registered), 404, "token_invalid")
    assert slug not in tenants_by_slug()
    refusal(log_in(app, email), 401)
    with main_session() as session:
        DEFINITIONS["tenants.forget_registrations"].run(session)
    assert count_registrations(email) == 0


@pytest.mark.parametrize("token", ["x", "é" * 30, "' OR 1=1 --"])
def test_a_token_that_was_never_given_out(app: Flask, token: str) -> None:
    refusal(confirm(app, token), 404, "token_invalid")


def test_somebody_invited_meanwhile_becomes_the_owner(
    app: Flask, context: Flask, post: PostOffice, registered: str, email: str
) -> None:
    """The account that came first keeps its password."""
    with main_session() as session:
        password_hash = app.extensions["passwords"].hash("another password")
        session.add(User(email=email, name="Alice", password_hash=password_hash))
    assert confirm(app, registered).get_json()["role"] == "owner"
    assert log_in(app, email, "another password").status_code == 200
    refusal(log_in(app, email), 401)


def test_registering_is_throttled_by_the_owners_address(
    house: Laboratory, email: str, slug: str
) -> None:
    with another_app(house.settings, mail_requests_per_account=1) as strict:
        assert register(strict, email, slug).status_code == 202
        refusal(register(strict, email.upper(), slug), 429, "too_many_requests")
        assert register(strict, f"x.{email}", slug).status_code == 202


@pytest.fixture
def closed(house: Laboratory) -> Iterator[Flask]:
    with another_app(house.settings, registration_enabled=False) as app:
        yield app


def test_an_installation_may_let_nobody_register(
    closed: Flask, registered: str, email: str, slug: str
) -> None:
    refusal(register(closed, email, slug), 403, "registration_disabled")
    refusal(confirm(closed, registered), 403, "registration_disabled")


@pytest.mark.parametrize(
    "change",
    [
        {"tenant": None},
        {"owner": None},
        {"tenant": {"name": "Initech", "slug": "-"}},
        {"tenant": {"name": "", "slug": "initech"}},
        {"owner": {"name": "Alice", "email": "alice"}},
        {"owner": {"name": "A", "email": "a@b.example", "role": "admin"}},
        {"owner": {"name": "A", "email": "a@b.example", "password": PASSWORD}},
    ],
)
def test_what_is_no_registration_is_refused(app: Flask, change: dict[str, Any]) -> None:
    body = form("alice@acme.example", "initech") | change
    refusal(app.test_client().post(REGISTER, json=body), 422)
