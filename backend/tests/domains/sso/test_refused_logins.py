"""Forged and misused sign-ins: each is a 4xx, is recorded, and opens nothing."""

import re
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from app.core import ids
from app.core.db import main_session, platform_session
from app.domains.audit.models import PlatformEntry
from app.domains.identity.service import users
from app.settings import Settings
from embedded.entra.tokens import FORGERIES
from tests.cast import PASSWORD, new_person
from tests.core.apps import another_app
from tests.domains.identity.accounts import change
from tests.domains.sso.browsers import CALLBACK, Browser, Company
from tests.domains.sso.conftest import NewCompany
from tests.domains.sso.misuses import MISUSED, Misuse

# What the directory's token endpoint does wrong, and why we refuse it.
FORGED = {
    "no_id_token": "no_id_token",
    "no_jwt": "not_understood",
    "two_parts": "no_jwt",
    "bad_signature": "invalid_signature",
    "foreign_key": "invalid_signature",
    "unknown_kid": "unknown_key",
    "no_kid": "unknown_key",
    "alg_none": "wrong_algorithm",
    "alg_hs256": "wrong_algorithm",
    "alg_rs512": "wrong_algorithm",
    "wrong_issuer": "invalid_issuer",
    "wrong_audience": "invalid_audience",
    "several_audiences": "wrong_audience",
    "wrong_tid": "wrong_directory",
    "missing_tid": "missing_required_claim",
    "missing_oid": "missing_required_claim",
    "bad_oid": "bad_oid",
    "wrong_nonce": "not_understood",
    "missing_nonce": "not_understood",
    "expired": "expired_signature",
    "missing_exp": "missing_required_claim",
    "not_yet_valid": "immature_signature",
    "version_1": "wrong_version",
}
# What the directory refuses itself.
REFUSED = {
    "revoked": "50173",
    "interaction_required": "50076",
    "expired_secret": "7000222",
}


def refusals() -> list[tuple[str, Any]]:
    """Reason and tenant of each in the trail, newest last."""
    with platform_session() as session:
        rows = session.scalars(
            select(PlatformEntry)
            .where(PlatformEntry.type == "sso.login_refused")
            .order_by(PlatformEntry.id)
        ).all()
    return [(row.target, row.tenant_id) for row in rows]


@pytest.fixture(autouse=True)
def _inside(inside: object) -> None:
    """In the instance's context."""


def test_the_table_of_forgeries_is_whole() -> None:
    assert set(FORGED) == set(FORGERIES)


@pytest.mark.parametrize("forgery", FORGED)
def test_a_forged_id_token_is_refused(forgery: str, acme: Company, browser: Browser) -> None:
    person = acme.newcomer()
    acme.directory.misbehaviour = forgery
    before = len(refusals())
    answer = browser.sign_in(person)
    assert (answer.status_code, answer.get_json()["code"]) == (403, "sso_token_invalid")
    assert refusals()[before:] == [(FORGED[forgery], acme.house.id)]
    with main_session() as session:
        assert users.find_by_email(session, person.email) is None


@pytest.mark.parametrize("kind", REFUSED)
def test_what_the_directory_refuses_is_told_with_its_number(
    kind: str, acme: Company, browser: Browser
) -> None:
    acme.directory.misbehaviour = kind
    before = len(refusals())
    answer = browser.sign_in(acme.newcomer())
    assert (answer.status_code, answer.get_json()["code"]) == (403, "sso_refused")
    assert [tenant for _, tenant in refusals()[before:]] == [acme.house.id]
    newest = acme.owner.get(f"{acme.config}/attempts").get_json()["items"][0]
    assert newest["aadsts"] == REFUSED[kind]
    assert newest["advice"]
    assert newest["advice"] in answer.get_json()["detail"]


@pytest.mark.parametrize("kind", ["429", "503"])
def test_a_directory_that_is_away_is_503(kind: str, acme: Company, browser: Browser) -> None:
    acme.directory.misbehaviour = kind
    before = len(refusals())
    answer = browser.sign_in(acme.newcomer())
    assert (answer.status_code, answer.get_json()["code"]) == (503, "directory_unavailable")
    assert int(answer.headers["Retry-After"]) >= 5
    assert refusals()[before:] == [("directory_unavailable", acme.house.id)]


def test_a_directory_that_is_slow_is_503(acme: Company, sso_settings: Settings) -> None:
    with another_app(sso_settings, azure_timeout_seconds=1.0) as impatient:
        browser = Browser(replace(acme, app=impatient))
        answer = browser.choose(browser.depart(), acme.newcomer())
        before = len(refusals())
        acme.directory.slow_seconds = 3.0
        late = browser.come_back(answer)
        acme.directory.slow_seconds = 0.0
    assert (late.status_code, late.get_json()["code"]) == (503, "directory_unavailable")
    assert refusals()[before:] == [("directory_unavailable", acme.house.id)]


@pytest.mark.parametrize("misuse", MISUSED, ids=lambda misuse: misuse.__name__)
def test_a_misused_sign_in_is_refused(
    misuse: Misuse, acme: Company, browser: Browser, new_company: NewCompany
) -> None:
    before = len(refusals())
    answer = misuse(browser, acme, new_company)
    status, reason = MISUSED[misuse]
    assert answer.status_code == status, answer.text
    assert "access_token" not in answer.get_json()
    assert [found for found, _ in refusals()[before:]] == [reason]


@pytest.mark.parametrize(
    "query",
    [
        {"state": ["a", "b"], "code": "c"},
        {"state": "a" * 30, "code": ["c", "d"]},
    ],
)
def test_what_is_said_twice_is_refused(query: Any, browser: Browser) -> None:
    assert browser.client.get(CALLBACK, query_string=query).status_code == 400
    assert browser.client.post(CALLBACK, data=query).status_code == 400


def test_a_cookie_is_the_hosts_own_and_out_of_reach_of_scripts(browser: Browser) -> None:
    answer = browser.client.get(browser.company.login)
    (cookie,) = answer.headers.getlist("Set-Cookie")
    name, _, attributes = cookie.partition("=")
    assert re.fullmatch(r"__Host-sso-[0-9a-f]{16}", name)
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= set(attributes.split("; "))
    assert "Domain" not in attributes


@pytest.mark.parametrize(
    "return_to",
    [
        "https://evil.example/",
        "http://localhost@evil.example/",
        "http://localhost.evil.example/",
        "//evil.example/",
        "javascript:alert(1)",
        "http://localhost\\@evil.example/",
        "http://localhost/#code=mine",
        "http://localhost:1/",
    ],
)
def test_nobody_is_sent_to_other_peoples_pages(return_to: str, browser: Browser) -> None:
    query = {"return_to": return_to, "code_challenge": "A" * 43}
    answer = browser.client.get(browser.company.login, query_string=query)
    assert (answer.status_code, answer.get_json()["code"]) == (422, "sso_return_refused")


def test_there_is_no_way_to_a_directory_that_is_none(acme: Company, browser: Browser) -> None:
    nobody = f"/api/auth/sso/azure/login/{ids.new_id()}"
    for address in (nobody, f"{acme.login}?test=invented-token-of-no-one"):
        answer = browser.client.get(address)
        assert (answer.status_code, answer.get_json()["code"]) == (404, "sso_not_available")


def test_linking_takes_both_proofs(acme: Company, browser: Browser) -> None:
    """The password of the account, and a person that the tenant's own directory has proven."""
    bob = new_person(acme.app, "Bob")
    unlinked = browser.sign_in(acme.directory.add_person("bob@example.com", "Bob")).get_json()
    wrong = {"link_token": unlinked["link_token"], "email": bob.email, "password": "a guess"}
    link = "/api/auth/sso/link"
    assert browser.client.post(link, json=wrong).status_code == 401
    right = wrong | {"password": PASSWORD}
    stranger = browser.client.post(link, json=right)
    assert (stranger.status_code, stranger.get_json()["code"]) == (403, "sso_account_refused")
    replay = browser.client.post(link, json=right)
    assert (replay.status_code, replay.get_json()["code"]) == (400, "sso_link_invalid")


def test_an_unverified_account_is_never_linked(acme: Company, browser: Browser) -> None:
    """Whoever opens an account with the address of somebody else waits in vain for him to come."""
    bob = new_person(acme.app, "Bob")
    email = f"bob.{ids.new_id().hex}@{acme.domain}"
    change(bob, email=email, email_verified_at=None)
    unlinked = browser.sign_in(acme.directory.add_person(email, "Bob"))
    assert unlinked.status_code == 409
    body = {"link_token": unlinked.get_json()["link_token"], "email": email, "password": PASSWORD}
    before = len(refusals())
    answer = browser.client.post("/api/auth/sso/link", json=body)
    assert (answer.status_code, answer.get_json()["code"]) == (403, "sso_account_refused")
    assert refusals()[before:] == [("unverified", acme.house.id)]
