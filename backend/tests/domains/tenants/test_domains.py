"""Custom domains: claimed by many, proven by one, by what the DNS shows."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask

from app.core import ids
from app.settings import Settings
from tests.cast import Cast, House, Person, new_house, new_person
from tests.core.answers import refusal
from tests.core.apps import another_app, elsewhere
from tests.integrations.name_server import NameServer, name_server

BASE = "tenants.example"


@pytest.fixture(scope="module")
def server() -> Iterator[NameServer]:
    with name_server() as running:
        yield running


@pytest.fixture(scope="module")
def own_app(settings: Settings, app: Flask, server: NameServer) -> Iterator[Flask]:
    """An instance that asks our name server."""
    changes = {"dns_servers": (server.address,), "dns_timeout": 0.5, "tenant_base_domain": BASE}
    url = "https://api.product.example"
    with another_app(settings, **changes, public_url=url) as made:
        yield made


@pytest.fixture(scope="module")
def alice(own_app: Flask) -> Person:
    with own_app.app_context():
        return new_person(own_app, "Alice")


@pytest.fixture(scope="module")
def ada(own_app: Flask) -> Person:
    with own_app.app_context():
        return new_person(own_app, "Ada")


@pytest.fixture(scope="module")
def bob(own_app: Flask) -> Person:
    with own_app.app_context():
        return new_person(own_app, "Bob")


@pytest.fixture(scope="module")
def mallory(own_app: Flask) -> Person:
    with own_app.app_context():
        return new_person(own_app, "Mallory")


@pytest.fixture(scope="module")
def acme(own_app: Flask, alice: Person, ada: Person, bob: Person) -> House:
    with own_app.app_context():
        return new_house("acme", alice, admin=ada, user=bob)


@pytest.fixture(scope="module")
def globex(own_app: Flask, mallory: Person) -> House:
    with own_app.app_context():
        return new_house("globex", mallory)


@pytest.fixture
def name() -> str:
    """A domain that nobody has claimed yet."""
    return f"d{ids.new_id().hex}.com"


def of(house: House, domain_id: object = None, verb: str = "") -> str:
    one = "" if domain_id is None else f"/{domain_id}"
    return f"/api/tenants/{house.id}/domains{one}{verb}"


def claim(person: Person, house: House, name: str) -> dict[str, Any]:
    answer = person.post(of(house), json={"domain": name})
    assert answer.status_code == 201, answer.text
    claimed: dict[str, Any] = answer.get_json()
    return claimed


def verify(person: Person, house: House, claimed: dict[str, Any]) -> Any:
    return person.post(of(house, claimed["id"], "/verify"))


def show(server: NameServer, *claims: dict[str, Any]) -> None:
    """The owner of the domain sets the records."""
    for each in claims:
        server.texts.setdefault(each["challenge_name"], []).append(each["challenge"].encode())


def enters(person: Person, name: str) -> Any:
    """The tenant that a request to the host enters."""
    return person.get("/api/tenants/current", base_url=f"https://{name}")


def test_mallory_neither_sees_nor_proves_nor_removes(
    *,
    mallory: Person,
    alice: Person,
    acme: House,
    globex: House,
    server: NameServer,
    name: str,
) -> None:
    claimed = claim(alice, acme, name)
    show(server, claimed)
    for attempt in (
        mallory.get(of(acme)),
        mallory.post(of(acme), json={"domain": name}),
        verify(mallory, acme, claimed),
        mallory.delete(of(acme, claimed["id"])),
    ):
        refusal(attempt, 404, "not_found")
    # Nor below her own tenant.
    refusal(verify(mallory, globex, claimed), 404, "domain_not_found")
    refusal(mallory.delete(of(globex, claimed["id"])), 404, "domain_not_found")
    assert claimed["id"] not in {each["id"] for each in mallory.get(of(globex)).get_json()["items"]}


def test_administrators_manage_them_and_nobody_below(
    ada: Person, bob: Person, acme: House, server: NameServer, name: str
) -> None:
    claimed = claim(ada, acme, name)
    for attempt in (
        bob.get(of(acme)),
        bob.post(of(acme), json={"domain": name}),
        verify(bob, acme, claimed),
        bob.delete(of(acme, claimed["id"])),
    ):
        refusal(attempt, 403)
    assert ada.delete(of(acme, claimed["id"])).status_code == 204


def test_proven_by_what_the_dns_shows(
    alice: Person, bob: Person, acme: House, server: NameServer, name: str
) -> None:
    claimed = claim(alice, acme, name)
    assert claimed["challenge_name"] == f"_tenantry-challenge.{name}"
    assert (claimed["active"], claimed["verified_at"]) == (False, None)
    refusal(verify(alice, acme, claimed), 409, "domain_not_proven")
    server.texts[claimed["challenge_name"]] = [b"v=spf1 -all", b"wrong"]
    refusal(verify(alice, acme, claimed), 409, "domain_not_proven")
    refusal(enters(bob, name), 404)
    show(server, claimed)
    proven = verify(alice, acme, claimed).get_json()
    assert proven["active"] is True
    assert proven["verified_at"] is not None
    assert proven in alice.get(of(acme)).get_json()["items"]
    assert enters(bob, name).get_json()["id"] == str(acme.id)
    # It stays so: a failure of the DNS takes nobody's address away.
    server.failing.add(claimed["challenge_name"])
    assert verify(alice, acme, claimed).get_json() == proven


def test_each_claim_has_a_challenge_of_its_own(
    *,
    alice: Person,
    mallory: Person,
    acme: House,
    globex: House,
    server: NameServer,
    name: str,
) -> None:
    """Alice's record proves nothing for Mallory."""
    hers, mallorys = claim(alice, acme, name), claim(mallory, globex, name)
    assert hers["challenge"] != mallorys["challenge"]
    show(server, hers)
    refusal(verify(mallory, globex, mallorys), 409, "domain_not_proven")
    assert verify(alice, acme, hers).status_code == 200


def test_a_proven_domain_is_not_taken_over(
    *,
    alice: Person,
    mallory: Person,
    acme: House,
    globex: House,
    server: NameServer,
    name: str,
) -> None:
    hers, mallorys = claim(alice, acme, name), claim(mallory, globex, name)
    show(server, hers, mallorys)
    assert verify(alice, acme, hers).status_code == 200
    refusal(verify(mallory, globex, mallorys), 409, "domain_taken")
    assert enters(alice, name).get_json()["id"] == str(acme.id)
    refusal(enters(mallory, name), 404)
    # Given up, it is free for who can prove it.
    assert alice.delete(of(acme, hers["id"])).status_code == 204
    refusal(enters(alice, name), 404)
    assert verify(mallory, globex, mallorys).status_code == 200
    assert enters(mallory, name).get_json()["id"] == str(globex.id)


def test_of_many_who_prove_it_at_once_one_wins(
    own_app: Flask, mallory: Person, server: NameServer, name: str
) -> None:
    with own_app.app_context():
        houses = [new_house("many", mallory) for _ in range(4)]
    claims = [claim(mallory, house, name) for house in houses]
    show(server, *claims)
    with ThreadPoolExecutor(8) as pool:
        pairs = list(zip(houses, claims, strict=True)) * 2
        answers = list(pool.map(lambda pair: verify(mallory, *pair).status_code, pairs))
    assert sorted(set(answers)) == [200, 409]
    proven = [
        house
        for house in houses
        if any(each["active"] for each in mallory.get(of(house)).get_json()["items"])
    ]
    assert len(proven) == 1
    assert enters(mallory, name).get_json()["id"] == str(proven[0].id)


def test_it_is_claimed_once(alice: Person, acme: House, name: str) -> None:
    claim(alice, acme, name)
    for again in (name, f"{name}.", name.upper()):
        refusal(alice.post(of(acme), json={"domain": again}), 409, "domain_taken")


def test_a_dns_that_does_not_answer(
    alice: Person, acme: House, server: NameServer, name: str
) -> None:
    claimed = claim(alice, acme, name)
    for wrong in (server.silent, server.failing):
        wrong.add(claimed["challenge_name"])
        answer = verify(alice, acme, claimed)
        refusal(answer, 503, "dns_unavailable")
        assert int(answer.headers["Retry-After"]) > 0
        wrong.clear()
    show(server, claimed)
    assert verify(alice, acme, claimed).status_code == 200


def test_a_domain_is_written_in_one_way(alice: Person, acme: House) -> None:
    end = ids.new_id().hex
    for given in (f"Bücher-{end}.Example.COM.", f"faß-{end}.de", f"日本-{end}.jp"):
        domain = claim(alice, acme, given)["domain"]
        assert domain.isascii()
        assert domain == domain.lower()
        assert domain.startswith("xn--")
        refusal(alice.post(of(acme), json={"domain": domain}), 409, "domain_taken")


@pytest.mark.parametrize(
    "bad",
    [
        "", " ", ".", "com", "localhost", "a.localhost", "printer.local", "db.internal",
        "127.0.0.1", "127.1", "1.2", "0x7f.0x1", "::1", "[::1]", "2001:db8::1", "example.com:443",
        "https://example.com", "user@example.com", "example.com/path", "*.example.com",
        "_dmarc.example.com", "-a.example.com", "a..example.com", "a b.com", "exa_mple.com",
        "co.uk", "com.au", "x" * 64 + ".com", ".".join(["a" * 60] * 4) + ".com", "a.onion",
        "\u2024.com", "gmail.com", "a\u0000.com", f"acme.{BASE}", BASE, "api.product.example",
        "a.api.product.example", "API.Product.Example.", "\uff41pi.product.example",
        "4.3.2.1.in-addr.arpa", "' OR true --",
    ],
)  # fmt: skip
def test_what_no_tenant_can_have(alice: Person, acme: House, bad: str) -> None:
    answer = alice.post(of(acme), json={"domain": bad})
    assert answer.status_code in {400, 422}, answer.text
    if answer.status_code == 422:
        assert set(answer.get_json()["errors"]) == {"domain"}


def test_a_list_of_public_suffixes(
    own_app: Flask, settings: Settings, alice: Person, acme: House, tmp_path: Path
) -> None:
    """As publicsuffix.org writes it: plain rules, wildcards, exceptions."""
    listed = tmp_path / "suffixes.dat"
    listed.write_text("// comment\n\nio\ngithub.io\n*.ck\n!www.ck\n公司.cn  note\n", "utf-8")
    own = own_app.extensions["settings"].model_copy(update={"public_suffix_list": listed})
    with another_app(own) as app:
        there = elsewhere(alice, app)
        for bad in ("github.io", "gov.ck", "公司.cn", "xn--55qx5d.cn"):
            refusal(there.post(of(acme), json={"domain": bad}), 422, "bad_domain")
        for good in ("www.ck", "acme.github.io", "acme.gov.ck"):
            claim(there, acme, good)


def test_what_a_claim_needs(alice: Person, acme: House) -> None:
    for body in ({}, {"domain": 7}, {"domain": None}, {"domain": "a.com", "verified_at": "now"}):
        refusal(alice.post(of(acme), json=body), 422)
    refusal(alice.post(of(acme, uuid4(), "/verify")), 404, "domain_not_found")
    refusal(alice.delete(of(acme, uuid4())), 404, "domain_not_found")


def test_a_deleted_tenants_domains(
    *,
    own_app: Flask,
    alice: Person,
    mallory: Person,
    globex: House,
    server: NameServer,
    name: str,
) -> None:
    """They stay its own until it is purged, so that it can be restored as it was."""
    with own_app.app_context():
        house = new_house("brief", alice)
    hers, mallorys = claim(alice, house, name), claim(mallory, globex, name)
    show(server, hers, mallorys)
    verify(alice, house, hers)
    alice.delete(f"/api/tenants/{house.id}", query_string={"confirm": house.slug})
    refusal(alice.get(of(house)), 410, "tenant_deleted")
    refusal(verify(mallory, globex, mallorys), 409, "domain_taken")
    assert enters(alice, name).get_json()["state"] == "deleted"


def test_petra_is_a_stranger_to_them(cast: Cast, own_app: Flask, acme: House) -> None:
    petra = elsewhere(cast.petra, own_app).sign_in()
    refusal(petra.get(of(acme)), 404)
