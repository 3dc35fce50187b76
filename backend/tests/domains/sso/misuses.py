"""Ways to misuse a sign-in: each gives the product's answer to the attempt."""

from collections.abc import Callable

from werkzeug.test import TestResponse

from app.core import ids
from app.core.db import main_session
from app.domains.identity.service import users
from tests.cast import new_person
from tests.domains.access.ledger import change_tenant, remove_member
from tests.domains.identity.accounts import change
from tests.domains.sso.browsers import Browser, Company, bearer
from tests.domains.sso.conftest import NewCompany

Misuse = Callable[[Browser, Company, NewCompany], TestResponse]


def replayed_state(browser: Browser, acme: Company, _new: NewCompany) -> TestResponse:
    answer = browser.choose(browser.depart(), acme.newcomer())
    assert browser.come_back(answer).status_code == 200
    return browser.come_back(answer)


def state_of_another_browser(browser: Browser, acme: Company, _new: NewCompany) -> TestResponse:
    answer = browser.choose(browser.depart(), acme.newcomer())
    return Browser(acme).come_back(answer)


def stolen_cookie(browser: Browser, acme: Company, _new: NewCompany) -> TestResponse:
    """Mallory's own answer, with the victim's cookie under the name that her state has."""
    answer = browser.choose(browser.depart(), acme.newcomer())
    victim = Browser(acme)
    victim.depart()
    (stolen,) = victim.client._cookies.values()  # type: ignore[union-attr]
    (own,) = browser.client._cookies.values()  # type: ignore[union-attr]
    other = Browser(acme)
    other.client.set_cookie(own.key, stolen.value)
    return other.come_back(answer)


def unknown_state(browser: Browser, _acme: Company, _new: NewCompany) -> TestResponse:
    return browser.come_back({"state": ids.new_token(), "code": "0.code"})


def no_state(browser: Browser, acme: Company, _new: NewCompany) -> TestResponse:
    answer = browser.choose(browser.depart(), acme.newcomer())
    return browser.come_back({"code": answer["code"]})


def strange_state(browser: Browser, _acme: Company, _new: NewCompany) -> TestResponse:
    return browser.come_back({"state": "ü*" * 500, "code": "0.code"})


def expired_state(browser: Browser, acme: Company, _new: NewCompany) -> TestResponse:
    answer = browser.choose(browser.depart(), acme.newcomer())
    redis = acme.app.extensions["redis"]
    for key in redis.scan_iter("*:sso:state:*"):
        redis.delete(key)
    return browser.come_back(answer)


def config_changed(browser: Browser, acme: Company, _new: NewCompany) -> TestResponse:
    answer = browser.choose(browser.depart(), acme.newcomer())
    acme.change(response_mode="query")
    return browser.come_back(answer)


def switched_off(browser: Browser, acme: Company, _new: NewCompany) -> TestResponse:
    answer = browser.choose(browser.depart(), acme.newcomer())
    change_tenant(acme.house.id, auth_method="local")
    try:
        return browser.come_back(answer)
    finally:
        change_tenant(acme.house.id, auth_method="both")


def suspended(browser: Browser, acme: Company, _new: NewCompany) -> TestResponse:
    answer = browser.choose(browser.depart(), acme.newcomer())
    change_tenant(acme.house.id, state="suspended")
    try:
        return browser.come_back(answer)
    finally:
        change_tenant(acme.house.id, state="active")


def no_code(browser: Browser, acme: Company, _new: NewCompany) -> TestResponse:
    answer = browser.choose(browser.depart(), acme.newcomer())
    return browser.come_back({"state": answer["state"]})


def invented_code(browser: Browser, acme: Company, _new: NewCompany) -> TestResponse:
    answer = browser.choose(browser.depart(), acme.newcomer())
    return browser.come_back(answer | {"code": "0.invented"})


def replayed_code(browser: Browser, acme: Company, _new: NewCompany) -> TestResponse:
    first = browser.choose(browser.depart(), acme.newcomer())
    assert browser.come_back(first).status_code == 200
    second = browser.choose(browser.depart(), acme.newcomer())
    return browser.come_back(second | {"code": first["code"]})


def injected_code(browser: Browser, acme: Company, _new: NewCompany) -> TestResponse:
    """A code that was handed out to somebody else's browser: its PKCE verifier is elsewhere."""
    victims = Browser(acme).choose(Browser(acme).depart(), acme.newcomer())
    own = browser.choose(browser.depart(), acme.newcomer())
    return browser.come_back(own | {"code": victims["code"]})


def code_of_another_tenant(browser: Browser, acme: Company, new: NewCompany) -> TestResponse:
    globex = new("globex", "Mallory")
    there = Browser(globex)
    theirs = there.choose(there.depart(), globex.newcomer("Mallory"))
    own = browser.choose(browser.depart(), acme.newcomer())
    return browser.come_back(own | {"code": theirs["code"]})


def mixed_up_issuer(browser: Browser, acme: Company, _new: NewCompany) -> TestResponse:
    answer = browser.choose(browser.depart(), acme.newcomer())
    return browser.come_back(answer | {"iss": f"{acme.entra.base}/{ids.new_id()}/v2.0"})


def declined(browser: Browser, acme: Company, _new: NewCompany) -> TestResponse:
    state = browser.choose(browser.depart(), acme.newcomer())["state"]
    text = "AADSTS65004: User declined to consent."
    told = {"state": state, "error": "access_denied", "error_description": text}
    return browser.come_back(told)


def disabled(browser: Browser, acme: Company, _new: NewCompany) -> TestResponse:
    person = acme.newcomer()
    person.enabled = False
    return browser.sign_in(person)


def address_of_a_member(browser: Browser, acme: Company, _new: NewCompany) -> TestResponse:
    """Somebody in the directory has been given Bob's address, and nothing of Bob's account."""
    bob = new_person(acme.app, "Bob")
    email = f"bob.{ids.new_id().hex}@{acme.domain}"
    change(bob, email=email)
    return browser.sign_in(acme.directory.add_person(email, "Bob"))


def address_of_another_directory(_browser: Browser, acme: Company, new: NewCompany) -> TestResponse:
    """Mallory's directory has a person with the ids and the address of one in acme's."""
    known = acme.newcomer()
    bearer(Browser(acme).sign_in(known))
    globex = new("globex", "Mallory", auto_provisioning_enabled=True, default_role="user")
    twin = globex.directory.add_person(known.email, known.name)
    del globex.directory.people[twin.id]
    twin.id = known.id
    globex.directory.people[twin.id] = twin
    return Browser(globex).sign_in(twin)


def foreign_address(browser: Browser, acme: Company, _new: NewCompany) -> TestResponse:
    return browser.sign_in(acme.directory.add_person("bob@example.com", "Bob"))


def no_address(browser: Browser, acme: Company, _new: NewCompany) -> TestResponse:
    return browser.sign_in(acme.directory.add_person("", "Bob"))


def lookalike_domain(browser: Browser, acme: Company, _new: NewCompany) -> TestResponse:
    return browser.sign_in(acme.directory.add_person(f"bob@not{acme.domain}", "Bob"))


def removed_member(browser: Browser, acme: Company, _new: NewCompany) -> TestResponse:
    person = acme.newcomer()
    me = acme.app.test_client().get("/api/users/me", headers=bearer(browser.sign_in(person)))
    remove_member(acme.house.id, me.get_json()["id"])
    return browser.sign_in(person)


def inactive_account(browser: Browser, acme: Company, _new: NewCompany) -> TestResponse:
    person = acme.newcomer()
    me = acme.app.test_client().get("/api/users/me", headers=bearer(browser.sign_in(person)))
    with main_session() as session:
        users.get_user(session, me.get_json()["id"]).active = False
    return browser.sign_in(person)


# How each is answered, and the reason in the trail.
MISUSED: dict[Misuse, tuple[int, str]] = {
    replayed_state: (400, "state_unknown"),
    state_of_another_browser: (400, "another_browser"),
    stolen_cookie: (400, "another_browser"),
    unknown_state: (400, "state_unknown"),
    no_state: (400, "state_unknown"),
    strange_state: (400, "state_unknown"),
    expired_state: (400, "state_unknown"),
    config_changed: (400, "config_changed"),
    switched_off: (400, "not_available"),
    suspended: (400, "not_available"),
    no_code: (403, "no_code"),
    invented_code: (403, "invalid_grant"),
    replayed_code: (403, "invalid_grant"),
    injected_code: (403, "invalid_grant"),
    code_of_another_tenant: (403, "invalid_grant"),
    mixed_up_issuer: (403, "mixed_up_issuer"),
    declined: (403, "access_denied"),
    disabled: (403, "access_denied"),
    address_of_a_member: (409, "link_required"),
    address_of_another_directory: (403, "not_provisioned"),
    foreign_address: (403, "not_provisioned"),
    no_address: (403, "not_provisioned"),
    lookalike_domain: (403, "not_provisioned"),
    removed_member: (403, "no_member"),
    inactive_account: (403, "inactive"),
}
