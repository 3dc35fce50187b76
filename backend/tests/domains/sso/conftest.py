"""A stand-in for Entra ID, an instance that asks it, and tenants with directories there."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import insert

from app.core import clock, ids
from app.core.db import main_session
from app.domains.tenants.models import TenantDomain
from app.settings import Settings
from embedded.entra.server import StandIn, stand_in
from tests.cast import new_house, new_person
from tests.core.apps import another_app
from tests.domains.sso.browsers import CALLBACK, Browser, Company
from tests.domains.sso.connections import Connection, connect

NewCompany = Callable[..., Company]


@pytest.fixture(scope="module")
def entra(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    with stand_in(tmp_path_factory.mktemp("entra")) as running:
        yield running


@pytest.fixture(scope="module")
def sso_settings(settings: Settings, entra: StandIn) -> Settings:
    changes: dict[str, Any] = {
        "azure_authority_url": entra.base,
        "graph_url": entra.base,
        "azure_ca_file": Path(entra.ca_file),
        "cors_origins": ("http://localhost:3000",),
    }
    return settings.model_copy(update=changes)


@pytest.fixture(scope="module")
def sso_app(sso_settings: Settings, app: Flask) -> Iterator[Flask]:
    with another_app(sso_settings) as made:
        yield made


@pytest.fixture
def inside(sso_app: Flask) -> Iterator[Flask]:
    with sso_app.app_context():
        yield sso_app


@pytest.fixture(scope="module")
def new_company(sso_app: Flask, entra: StandIn) -> NewCompany:
    """A tenant with a proven domain and a directory; ``active`` is tested and switched on too."""
    return partial(make_company, sso_app, entra)


def make_company(
    app: Flask,
    entra: StandIn,
    name: str = "acme",
    owner: str = "Alice",
    *,
    active: bool = True,
    **config: Any,
) -> Company:
    """The same, of any instance."""
    domain = f"{name}-{ids.new_id().hex[-12:]}.example"
    with app.app_context():
        person = new_person(app, owner)
        house = new_house(name, person)
        prove(house.id, domain)
    directory = entra.add_directory()
    application = directory.register(f"{app.extensions['settings'].public_url}{CALLBACK}")
    company = Company(app, entra, house, person, directory, application, domain)
    answer = person.send("PUT", company.config, json=company.given(**config))
    assert answer.status_code == 200, answer.text
    if active:
        activate(company)
    return company


def prove(tenant_id: Any, domain: str) -> None:
    """As if the DNS had shown the challenge; tests/domains/tenants/test_domains.py has it do so."""
    with main_session(tenant_id=tenant_id) as session:
        session.execute(
            insert(TenantDomain).values(
                tenant_id=tenant_id, domain=domain, challenge="shown", verified_at=clock.now()
            )
        )


def take_in(company: Company) -> None:
    company.change(
        sso_domain_whitelist=[company.domain],
        auto_provisioning_enabled=True,
        default_role="user",
    )


def activate(company: Company) -> None:
    test = company.owner.post(f"{company.config}/test")
    assert test.status_code == 200, test.text
    browser = Browser(company)
    location = browser.depart(test.get_json()["login_url"])
    tested = browser.come_back(browser.choose(location, company.newcomer("Alice")))
    assert tested.get_json() == {"tested": True}, tested.text
    switched_on = company.owner.post(f"{company.config}/activate")
    assert switched_on.status_code == 200, switched_on.text


@pytest.fixture(scope="module")
def open_acme(new_company: NewCompany) -> Company:
    """Acme, which takes in whom its directory has in its own domain, as users."""
    company = new_company()
    take_in(company)
    return company


@pytest.fixture
def acme(open_acme: Company) -> Iterator[Company]:
    """Acme with a directory that behaves."""
    yield replace(open_acme)
    open_acme.directory.misbehaviour = open_acme.directory.graph_misbehaviour = None


@pytest.fixture
def browser(acme: Company) -> Browser:
    return Browser(acme)


@pytest.fixture
def connection(acme: Company, browser: Browser, inside: Flask) -> Connection:
    return connect(acme, browser)
