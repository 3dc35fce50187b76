"""A sign-in in headless Chromium, from a page that stands for a web application, and back to it.

``TEST_SCREENSHOTS`` names a folder for pictures of what people see.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlencode

import pytest
from flask import Flask
from playwright.sync_api import Browser, Page, expect, sync_playwright
from werkzeug.serving import make_server

from app.settings import Settings
from embedded.entra.server import StandIn, stand_in
from embedded.ports import free_port
from embedded.real import chromium_program
from tests.core.apps import another_app
from tests.domains.sso.browsers import CALLBACK
from tests.domains.sso.conftest import make_company, take_in
from tests.domains.sso.second import SecondDirectory, settle

_MILLISECONDS = 30_000


@dataclass
class Visit:
    """A page that leads to a tenant's sign-in; what is done there is the directory's to say."""

    name: str
    page: Page
    address: str
    enter: Callable[[str], None]
    cancel: Callable[[], None]
    domain: str

    def begin(self) -> None:
        self.page.goto(self.address)
        self.page.get_by_role("button", name="Sign in to acme").click()

    def shows(self, text: str) -> None:
        expect(self.page.locator("#shown")).to_contain_text(text, timeout=_MILLISECONDS)

    def picture(self, what: str) -> None:
        if folder := os.environ.get("TEST_SCREENSHOTS"):
            self.page.screenshot(path=Path(folder) / f"{self.name} {what}.png", full_page=True)


@pytest.fixture(scope="module")
def entra_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    """A stand-in with the page of an application in it."""
    with stand_in(tmp_path_factory.mktemp("entra"), front_port=free_port()) as running:
        yield running


@pytest.fixture(scope="module")
def chromium(server_urls: dict[str, str]) -> Iterator[Browser]:
    program = chromium_program()
    if not server_urls.get("oidc") or program is None:
        pytest.skip("needs oidc-provider and Chromium: scripts/services.py run")
    with sync_playwright() as playwright:
        # Its own sandbox wants rights that a container does not give.
        options = ["--no-sandbox", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(
            executable_path=program, args=options, timeout=4 * _MILLISECONDS
        )
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """In a browser without cookies, which takes our own authorities' certificates."""
    context = chromium.new_context(ignore_https_errors=True, locale="en-GB")
    context.set_default_timeout(_MILLISECONDS)
    yield context.new_page()
    context.close()


@contextmanager
def serving(settings: Settings, entra: StandIn, **directory: object) -> Iterator[Flask]:
    """An instance that answers over HTTP, for browsers."""
    port = free_port()
    url = f"http://localhost:{port}"
    changes = {"public_url": url, "cors_origins": (entra.front,), "graph_url": entra.base}
    with another_app(settings, **changes, **directory) as app:
        server = make_server("localhost", port, app, threaded=True)
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield app
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def address(app: Flask, entra: StandIn, tenant: object) -> str:
    api = app.extensions["settings"].public_url
    return f"{entra.front}/?{urlencode({'api': api, 'tenant': str(tenant)})}"


@pytest.fixture
def at_stand_in(settings: Settings, app: Flask, entra_page: StandIn, page: Page) -> Iterator[Visit]:
    known = {"azure_authority_url": entra_page.base, "azure_ca_file": entra_page.ca_file}
    with serving(settings, entra_page, **known) as made:
        acme = make_company(made, entra_page)
        take_in(acme)
        acme.directory.people.clear()

        def enter(email: str) -> None:
            name = email.partition("@")[0].title()
            acme.directory.add_person(email, name)
            page.reload()
            page.get_by_role("button", name=email).click()

        yield Visit(
            name="stand-in",
            page=page,
            address=address(made, entra_page, acme.house.id),
            enter=enter,
            cancel=lambda: page.get_by_role("button", name="Cancel").click(),
            domain=acme.domain,
        )


@pytest.fixture
def at_second(
    *,
    settings: Settings,
    app: Flask,
    entra_page: StandIn,
    page: Page,
    server_urls: dict[str, str],
) -> Iterator[Visit]:
    origin, _, _ = server_urls["oidc"].partition("#")
    directory = SecondDirectory(server_urls["oidc"])
    known = {"azure_authority_url": origin, "azure_ca_file": directory.ca_file}
    with serving(settings, entra_page, **known) as made:
        directory.redirect_uri = f"{made.extensions['settings'].public_url}{CALLBACK}"
        acme = settle(made, directory)

        def sign_in(email: str) -> None:
            page.get_by_placeholder("Enter any login").fill(email)
            page.get_by_placeholder("and password").fill("any")
            page.get_by_role("button", name="Sign-in").click()

        def enter(email: str) -> None:
            sign_in(email)
            page.get_by_role("button", name="Continue").click()

        for name, domain in (("ursula", acme.domain), ("mallory", "globex.example")):
            directory.add_person(f"{name}@{domain}", f"{name}@{domain}", name=name.title())
        directory.publish()
        yield Visit(
            name="oidc-provider",
            page=page,
            address=address(made, entra_page, acme.house.id),
            enter=enter,
            cancel=lambda: page.get_by_role("link", name="Cancel").click(),
            domain=acme.domain,
        )


@pytest.fixture(params=["at_stand_in", "at_second"])
def visit(request: pytest.FixtureRequest) -> Visit:
    found: Visit = request.getfixturevalue(request.param)
    return found


def test_somebody_declines_is_somebody_else_and_gets_in(visit: Visit) -> None:
    """Each time the page says what has happened, in words."""
    visit.begin()
    visit.cancel()
    visit.shows("The directory did not sign you in.")
    visit.picture("declined")
    visit.page.context.clear_cookies()
    visit.begin()
    visit.enter("mallory@globex.example")
    visit.shows("Nobody here is linked with you; ask for an invitation, or link your account.")
    visit.picture("somebody else")
    visit.page.context.clear_cookies()
    visit.begin()
    visit.enter(f"ursula@{visit.domain}")
    visit.shows("You are signed in as")
    visit.shows(f'"email": "ursula@{visit.domain}"')
    visit.shows('"method": "azure"')
    visit.shows("Acme's documents")
    visit.picture("signed in")
    assert "code=" not in visit.page.url


def test_a_browser_without_the_pages_address_is_told_in_words(at_stand_in: Visit) -> None:
    page = at_stand_in.page
    api = at_stand_in.address.partition("?api=")[2].partition("&")[0]
    answer = page.goto(f"{unquote(api)}{CALLBACK}?state={'x' * 43}&code=0")
    assert answer is not None
    assert answer.status == 400
    expect(page.get_by_role("heading")).to_have_text("Not signed in")
    expect(page.locator("p")).to_contain_text("begin again")
