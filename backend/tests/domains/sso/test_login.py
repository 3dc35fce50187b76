"""Signing in with a directory, from the product and back."""

import hashlib
import re
from base64 import urlsafe_b64encode
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from typing import Any
from urllib.parse import parse_qsl, urlencode

import requests
from pydantic import SecretStr
from sqlalchemy import select

from app.core import ids
from app.core.db import main_session
from app.domains.sso.models import UserAzureIdentity
from app.domains.tenants.service import members
from app.settings import Settings
from embedded.entra.directory import DirectoryPerson
from embedded.ports import free_port
from tests.cast import PASSWORD, new_person
from tests.core.apps import another_app
from tests.domains.sso.browsers import CALLBACK, Browser, Company, bearer
from tests.domains.sso.conftest import NewCompany


def test_somebody_new_of_the_tenants_own_domain_is_taken_in(
    acme: Company, browser: Browser, inside: object
) -> None:
    person = acme.newcomer("Ursula")
    headers = bearer(browser.sign_in(person))
    me = acme.app.test_client().get("/api/users/me", headers=headers).get_json()
    assert (me["email"], me["email_verified"], me["name"]) == (person.email, True, "Ursula")
    assert acme.app.test_client().get(acme.house.documents, headers=headers).status_code == 200
    session = acme.app.test_client().get("/api/auth/current-session", headers=headers).get_json()
    assert session["method"] == "azure"
    assert session["tenant_id"] == str(acme.house.id)
    assert (session["by_password"], session["sso_tenant_ids"]) == (False, [str(acme.house.id)])
    with main_session(tenant_id=acme.house.id) as own:
        row = own.scalars(
            select(UserAzureIdentity).where(UserAzureIdentity.object_id == person.id)
        ).one()
    assert row.sealed_cache is not None
    assert "refresh_token" not in row.sealed_cache.lower()


def test_who_is_known_stays_the_same_whatever_the_address_becomes(
    acme: Company, browser: Browser
) -> None:
    """The key of a person is (directory, object id): an address can be changed by many."""
    person, other = acme.newcomer(), acme.newcomer("Bob")
    mine = _me(acme, bearer(browser.sign_in(person)))
    his = _me(acme, bearer(Browser(acme).sign_in(other)))
    person.email = other.email
    assert _me(acme, bearer(browser.sign_in(person)))["id"] == mine["id"] != his["id"]


def test_two_first_sign_ins_at_once_make_one_account(acme: Company) -> None:
    person = acme.newcomer()
    browsers = [Browser(acme) for _ in range(4)]
    answers = [each.choose(each.depart(), person) for each in browsers]
    with ThreadPoolExecutor(4) as pool:
        came = list(
            pool.map(lambda pair: pair[0].come_back(pair[1]), zip(browsers, answers, strict=True))
        )
    assert len({_me(acme, bearer(answer))["id"] for answer in came}) == 1


def test_a_directory_may_have_the_browser_post_its_answer(new_company: NewCompany) -> None:
    """A cookie that comes with other sites' forms has to say so; it works once all the same."""
    acme = new_company()
    acme.change(
        response_mode="form_post",
        sso_domain_whitelist=[acme.domain],
        auto_provisioning_enabled=True,
        default_role="viewer",
    )
    browser, person = Browser(acme), acme.newcomer()
    start = browser.client.get(acme.login)
    assert "SameSite=None" in start.headers["Set-Cookie"]
    page = requests.post(
        start.headers["Location"],
        data={"person": person.id},
        verify=str(acme.entra.ca_file),
        timeout=30,
    )
    fields = dict(re.findall(r'name="(\w+)" value="([^"]+)"', page.text))
    assert Browser(acme).client.post(CALLBACK, data=fields).status_code == 400
    again = browser.depart()
    page = requests.post(
        again, data={"person": person.id}, verify=str(acme.entra.ca_file), timeout=30
    )
    fields = dict(re.findall(r'name="(\w+)" value="([^"]+)"', page.text))
    bearer(browser.client.post(CALLBACK, data=fields))
    assert browser.client.post(CALLBACK, data=fields).status_code == 400


def test_changed_keys_are_fetched_and_old_ones_forgotten(acme: Company, browser: Browser) -> None:
    person = acme.newcomer()
    bearer(browser.sign_in(person))
    acme.directory.rotate_keys()
    bearer(browser.sign_in(person))


# A page that begins a sign-in, and gets a code.
VERIFIER = "v" * 64
CHALLENGE = urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
PAGE = "http://localhost:3000/signed-in"


def _code(browser: Browser, person: DirectoryPerson) -> str:
    answer = browser.sign_in(person, return_to=PAGE, code_challenge=CHALLENGE)
    assert answer.status_code == 302, answer.text
    page, _, code = answer.headers["Location"].partition("#code=")
    assert page == PAGE
    return code


def test_a_page_gets_a_code_and_exchanges_it_once(acme: Company, browser: Browser) -> None:
    exchange = "/api/auth/sso/token"
    code = _code(browser, acme.newcomer())
    body = {"code": code, "code_verifier": VERIFIER}
    bearer(browser.client.post(exchange, json=body))
    assert browser.client.post(exchange, json=body).get_json()["code"] == "sso_code_invalid"
    stolen = {"code": _code(browser, acme.newcomer()), "code_verifier": "w" * 64}
    assert browser.client.post(exchange, json=stolen).status_code == 400
    right = stolen | {"code_verifier": VERIFIER}  # a wrong guess uses it up
    assert browser.client.post(exchange, json=right).status_code == 400


def test_a_page_is_told_of_a_refusal_and_what_to_do(acme: Company, browser: Browser) -> None:
    """The answer stays a 4xx; the browser goes on to the page that waits."""
    stranger = acme.directory.add_person('"><script>@example.com', "Bob")
    location = browser.depart(return_to=PAGE, code_challenge=CHALLENGE)
    answer = browser.client.get(
        f"{CALLBACK}?{urlencode(browser.choose(location, stranger))}",
        headers={"Accept": "text/html"},
    )
    assert (answer.status_code, answer.mimetype) == (403, "text/html")
    assert "<script>" not in answer.text
    (address,) = re.findall(r'content="0;url=([^"]+)"', answer.text)
    page, _, told = unescape(address).partition("#")
    said = dict(parse_qsl(told))
    assert (page, said["error"]) == (PAGE, "sso_not_provisioned")
    body = {"link_token": said["link_token"], "email": acme.owner.email, "password": PASSWORD}
    bearer(browser.client.post("/api/auth/sso/link", json=body))


def test_a_code_without_a_challenge_is_not_handed_out(browser: Browser) -> None:
    answer = browser.client.get(browser.company.login, query_string={"return_to": PAGE})
    assert answer.status_code == 422


def test_one_session_gathers_several_authentications(
    acme: Company, browser: Browser, new_company: NewCompany
) -> None:
    """And a directory opens its own tenant: globex's cannot reach acme through Alice's identity."""
    globex = new_company("globex", "Mallory")
    alice = globex.directory.add_person("alice@globex.example", "Alice")
    with acme.app.app_context(), main_session(tenant_id=globex.house.id) as session:
        members.add_member(
            session, tenant_id=globex.house.id, user_id=acme.owner.user_id, role="user"
        )
    there = Browser(globex)
    unlinked = there.sign_in(alice).get_json()
    body = {
        "link_token": unlinked["link_token"],
        "email": acme.owner.email,
        "password": PASSWORD,
    }
    both = bearer(there.client.post("/api/auth/sso/link", json=body))
    assert _status(acme, both) == _status(globex, both) == 200
    # Globex's directory alone, in whose administrator's hands Alice's account there is.
    alone = bearer(there.sign_in(alice))
    assert _status(globex, alone) == 200
    refused = acme.app.test_client().get(acme.house.documents, headers=alone)
    assert (refused.status_code, refused.get_json()["code"]) == (403, "reauthentication_required")
    assert refused.get_json()["login_url"].endswith(f"/api/auth/sso/azure/login/{acme.house.id}")
    # She proves her password in acme's own sign-in, and the session gathers that.
    mine = acme.directory.add_person("alice@acme.example", "Alice")
    proven = browser.sign_in(mine).get_json()
    linked = browser.client.post(
        "/api/auth/sso/link", json=body | {"link_token": proven["link_token"]}
    )
    assert linked.status_code == 200, linked.text
    code = _code(browser, mine)
    exchanged = browser.client.post(
        "/api/auth/sso/token", json={"code": code, "code_verifier": VERIFIER}, headers=alone
    )
    gathered = bearer(exchanged)
    assert _status(acme, gathered) == _status(globex, gathered) == 200
    assert _status(acme, alone) == 200  # it is the same session


def test_a_code_of_somebody_else_extends_no_session(acme: Company, browser: Browser) -> None:
    mine = bearer(browser.sign_in(acme.newcomer()))
    body = {"code": _code(Browser(acme), acme.newcomer("Bob")), "code_verifier": VERIFIER}
    answer = browser.client.post("/api/auth/sso/token", json=body, headers=mine)
    assert (answer.status_code, answer.get_json()["code"]) == (404, "session_not_found")


def test_a_tenant_of_its_directory_alone_takes_its_owners_passwords(
    new_company: NewCompany,
) -> None:
    acme = new_company()
    with acme.app.app_context():
        bob = new_person(acme.app, "Bob")
        with main_session(tenant_id=acme.house.id) as session:
            members.add_member(session, tenant_id=acme.house.id, user_id=bob.user_id, role="admin")
    assert bob.get(acme.house.documents).status_code == 200
    acme.change(auth_method="sso")
    assert bob.get(acme.house.documents).get_json()["code"] == "reauthentication_required"
    assert acme.owner.get(acme.house.documents).status_code == 200
    assert acme.owner.delete(acme.config).status_code == 204
    assert bob.get(acme.house.documents).status_code == 200


def test_a_platform_administrator_is_none_by_a_directory_alone(new_company: NewCompany) -> None:
    """Whoever administers the directory would administer the platform."""
    globex = new_company("globex", "Mallory")
    with globex.app.app_context():
        petra = new_person(globex.app, "Petra", platform_role="platform_admin")
        with main_session(tenant_id=globex.house.id) as session:
            members.add_member(
                session, tenant_id=globex.house.id, user_id=petra.user_id, role="user"
            )
    browser = Browser(globex)
    person = globex.directory.add_person("petra@globex.example", "Petra")
    body = {
        "link_token": browser.sign_in(person).get_json()["link_token"],
        "email": petra.email,
        "password": PASSWORD,
    }
    both = bearer(browser.client.post("/api/auth/sso/link", json=body))
    alone = bearer(browser.sign_in(person))
    client = globex.app.test_client()
    assert client.get("/api/admin/tenants", headers=both).status_code == 200
    assert client.get("/api/admin/tenants", headers=alone).status_code == 403


def test_where_people_sign_in_is_told_by_their_domain(acme: Company, browser: Browser) -> None:
    found = browser.client.post(
        "/api/auth/sso/detect", json={"email": f"nobody@{acme.domain.upper()}"}
    ).get_json()
    assert found["items"] == [
        {"tenant_id": str(acme.house.id), "login_url": f"http://localhost{acme.login}"}
    ]
    other = browser.client.post("/api/auth/sso/detect", json={"email": "nobody@example.com"})
    assert other.get_json().keys() == found.keys()
    check = "/api/auth/sso/check-availability/"
    there = browser.client.get(check + str(acme.house.id)).get_json()
    assert there == {"available": True, "login_url": f"http://localhost{acme.login}"}
    nowhere = browser.client.get(check + str(ids.new_id())).get_json()
    assert nowhere == {"available": False, "login_url": None}


def test_signing_out_tells_where_the_directory_does_so(acme: Company, browser: Browser) -> None:
    headers = bearer(browser.sign_in(acme.newcomer()))
    answer = browser.client.post("/api/auth/sso/azure/logout", headers=headers)
    url = answer.get_json()["logout_url"]
    assert url.startswith(f"{acme.entra.base}/{acme.directory.id}/oauth2/v2.0/logout?")
    assert "post_logout_redirect_uri=http%3A%2F%2Flocalhost" in url
    assert browser.client.get("/api/users/me", headers=headers).status_code == 401
    by_password = acme.owner.again().post("/api/auth/sso/azure/logout")
    assert by_password.get_json() == {"logout_url": None}


def test_without_redis_nobody_signs_in_so(acme: Company, sso_settings: Settings) -> None:
    nowhere = SecretStr(f"redis://127.0.0.1:{free_port()}/0")
    with another_app(sso_settings, redis_url=nowhere) as app:
        answer = app.test_client().get(acme.login)
    assert (answer.status_code, answer.get_json()["code"]) == (503, "sso_unavailable")
    assert "Retry-After" in answer.headers


def _me(company: Company, headers: dict[str, str]) -> dict[str, Any]:
    me: dict[str, Any] = company.app.test_client().get("/api/users/me", headers=headers).get_json()
    return me


def _status(company: Company, headers: dict[str, str]) -> int:
    return company.app.test_client().get(company.house.documents, headers=headers).status_code
