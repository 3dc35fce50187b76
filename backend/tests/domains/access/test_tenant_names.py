"""Path, header, subdomain and custom domain name one tenant, or the request is refused."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask
from sqlalchemy import event, insert

from app.core import clock, ids
from app.core.db import db, platform_session
from app.domains.tenants.models import TenantDomain
from app.settings import Settings
from tests.cast import Cast, House, Person, new_house, new_person
from tests.core.answers import refusal
from tests.core.apps import another_app, elsewhere

BASE = "tenants.example"
HOSTS = ("localhost", "127.0.0.1:4999", "[::1]:4999", BASE, "api", "unknown.example.com")


@pytest.fixture(scope="module")
def own_app(settings: Settings, app: Flask) -> Iterator[Flask]:
    """An instance that has a base domain."""
    with another_app(settings, tenant_base_domain=BASE) as made:
        yield made


@pytest.fixture(scope="module")
def owner(own_app: Flask) -> Person:
    with own_app.app_context():
        return new_person(own_app, "Alice")


@pytest.fixture(scope="module")
def acme(own_app: Flask, owner: Person) -> House:
    with own_app.app_context():
        return new_house("acme", owner)


@pytest.fixture(scope="module")
def initech(own_app: Flask, owner: Person) -> House:
    """Another tenant of the same owner."""
    with own_app.app_context():
        return new_house("initech", owner)


@pytest.fixture(scope="module")
def domain(own_app: Flask, acme: House) -> str:
    return prove(own_app, acme, f"files.{acme.slug}.example.com")


@pytest.fixture
def mallory(cast: Cast, own_app: Flask) -> Person:
    return elsewhere(cast.mallory, own_app)


def prove(app: Flask, house: House, domain: str) -> str:
    with app.app_context(), platform_session() as session:
        now = clock.now()
        row = {"id": ids.new_id(), "tenant_id": house.id, "domain": domain, "challenge": "known"}
        session.execute(insert(TenantDomain).values(**row, verified_at=now))
    return domain


def get(
    person: Person, tenant: UUID | str, *, slug: str | None = None, host: str = "localhost"
) -> Any:
    """The tenant's documents."""
    headers = {} if slug is None else {"X-Tenant-Slug": slug}
    return person.get(
        f"/api/tenants/{tenant}/documents", headers=headers, base_url=f"http://{host}"
    )


def told(person: Person, tenant: UUID | str, **names: Any) -> tuple[int, str]:
    answer = get(person, tenant, **names)
    return answer.status_code, answer.get_json().get("code", "")


def test_mallory_finds_nothing_by_any_name(mallory: Person, acme: House, domain: str) -> None:
    """And what is there looks as what is not."""
    absent = (404, "not_found")
    for slug, host in ((acme.slug, domain), (f"{acme.slug}x", f"x{domain}")):
        assert told(mallory, "current", slug=slug) == absent
        assert told(mallory, "current", host=f"{slug}.{BASE}") == absent
        assert told(mallory, "current", host=host) == absent
        for tenant in (acme.id, uuid4()):
            assert told(mallory, tenant, slug=slug) == absent
            assert told(mallory, tenant, host=f"{slug}.{BASE}") == absent
            assert told(mallory, tenant, host=host) == absent


def test_a_member_may_use_any_name_and_all(owner: Person, acme: House, domain: str) -> None:
    for tenant in (acme.id, "current", str(acme.id).upper()):
        for names in (
            {"slug": acme.slug},
            {"slug": f" {acme.slug.upper()} "},
            {"host": f"{acme.slug}.{BASE}"},
            {"host": f"{acme.slug.upper()}.{BASE}.:8080"},
            {"host": domain},
            {"host": f"{domain}:443"},
            {"slug": acme.slug, "host": domain},
            {"slug": acme.slug, "host": f"{acme.slug}.{BASE}"},
        ):
            assert told(owner, tenant, **names) == (200, ""), names


def test_the_tenant_of_the_names_is_the_one_that_is_entered(
    owner: Person, acme: House, initech: House, domain: str
) -> None:
    for house in (acme, initech):
        answer = owner.get("/api/tenants/current", headers={"X-Tenant-Slug": house.slug})
        assert answer.get_json()["id"] == str(house.id)
    answer = owner.get("/api/tenants/current", base_url=f"https://{domain}")
    assert answer.get_json()["id"] == str(acme.id)


def test_names_of_two_tenants_are_refused(
    owner: Person, acme: House, initech: House, domain: str
) -> None:
    """Also for one who is a member of both."""
    mismatch = (400, "tenant_mismatch")
    other = initech.slug
    assert told(owner, acme.id, slug=other) == mismatch
    assert told(owner, acme.id, slug="nobody-s") == mismatch
    assert told(owner, acme.id, host=f"{other}.{BASE}") == mismatch
    assert told(owner, acme.id, host=f"a.{acme.slug}.{BASE}") == mismatch
    assert told(owner, initech.id, host=domain) == mismatch
    assert told(owner, "current", slug=other, host=domain) == mismatch
    assert told(owner, "current", slug=other, host=f"{acme.slug}.{BASE}") == mismatch
    assert told(owner, acme.id, slug=acme.slug, host=f"{other}.{BASE}") == mismatch


@pytest.mark.parametrize("host", HOSTS)
def test_the_products_own_hosts_name_nobody(owner: Person, acme: House, host: str) -> None:
    assert told(owner, acme.id, host=host)[0] == 200
    expected = (404, "not_found") if host == "unknown.example.com" else (400, "tenant_not_named")
    assert told(owner, "current", host=host) == expected


def test_a_claimed_domain_names_nobody(own_app: Flask, owner: Person, acme: House) -> None:
    name = f"claimed.{acme.slug}.example.com"
    assert owner.post(f"/api/tenants/{acme.id}/domains", json={"domain": name}).status_code == 201
    assert told(owner, "current", host=name) == (404, "not_found")


def test_a_header_that_is_empty_or_twice(owner: Person, acme: House, initech: House) -> None:
    assert told(owner, "current", slug="") == (400, "tenant_not_named")
    assert told(owner, acme.id, slug="") == (200, "")
    assert told(owner, "current", slug=f"{acme.slug},{initech.slug}") == (404, "not_found")
    assert told(owner, "current", slug="' OR true --") == (404, "not_found")


def test_a_forwarded_host_is_not_believed(owner: Person, acme: House) -> None:
    answer = owner.get("/api/tenants/current", headers={"X-Forwarded-Host": f"{acme.slug}.{BASE}"})
    refusal(answer, 400, "tenant_not_named")


def test_nobody_signed_in_learns_nothing(own_app: Flask, acme: House, domain: str) -> None:
    client = own_app.test_client()
    for host in (f"{acme.slug}.{BASE}", f"nobody.{BASE}", domain):
        answer = client.get("/api/tenants/current", base_url=f"http://{host}")
        refusal(answer, 401, "unauthenticated")


@pytest.mark.parametrize("names", [{}, {"slug": True}, {"slug": True, "host": True}])
def test_one_query_answers_who_and_where(
    own_app: Flask, owner: Person, acme: House, domain: str, names: dict[str, bool]
) -> None:
    statements: list[str] = []

    def listen(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    with own_app.app_context():
        engine = db.engine
    event.listen(engine, "before_cursor_execute", listen)
    try:
        slug = acme.slug if names.get("slug") else None
        assert get(owner, acme.id, slug=slug, host=domain if names.get("host") else "localhost")
    finally:
        event.remove(engine, "before_cursor_execute", listen)
    assert len(statements) == 1
    assert ("name_tenant" in statements[0]) == bool(names)
