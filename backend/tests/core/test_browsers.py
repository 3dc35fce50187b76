"""What browsers are told of every answer, and whose pages may read it."""

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from app.settings import Environment, Settings
from tests.cast import Cast, Person
from tests.core.apps import another_app, elsewhere
from tests.domains.documents.files import upload

FRONT_END = "https://app.example.com"


@pytest.fixture(scope="module")
def open_to_one(settings: Settings) -> Iterator[Flask]:
    with another_app(settings, cors_origins=(FRONT_END, "http://localhost:3000")) as own:
        yield own


@pytest.fixture
def alice(open_to_one: Flask, cast: Cast) -> Person:
    return elsewhere(cast.alice, open_to_one)


def preflight(app: Flask, path: str, method: str, origin: str = FRONT_END) -> Any:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    return app.test_client().options(path, headers=headers)


def granted(answer: Any) -> dict[str, str]:
    return {name: value for name, value in answer.headers if name.startswith("Access-Control")}


@pytest.mark.parametrize(
    "path", ["/health", "/nothing", "/api/users/me", "/api/tenants", "/.well-known/jwks.json"]
)
def test_every_answer(cast: Cast, path: str) -> None:
    headers = cast.alice.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert "Strict-Transport-Security" not in headers
    assert "Server" not in headers
    assert "Set-Cookie" not in headers


@pytest.mark.parametrize("path", ["/api/users/me", "/api/tenants", "/api/auth/sessions"])
def test_data_are_kept_nowhere(cast: Cast, path: str) -> None:
    assert cast.alice.get(path).headers["Cache-Control"] == "no-store"


def test_a_file_is_no_page(cast: Cast) -> None:
    document = upload(cast.alice, cast.acme, b"<script>alert(1)</script>")
    headers = cast.alice.get(f"{cast.acme.documents}/{document['id']}/download").headers
    assert headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_production_is_https_for_a_year(settings: Settings) -> None:
    with another_app(settings, environment=Environment.PRODUCTION) as production:
        headers = production.test_client().get("/nothing").headers
    assert headers["Strict-Transport-Security"] == "max-age=31536000"


def test_a_page_of_ours_may_read(alice: Person) -> None:
    for path, status in (("/api/users/me", 200), ("/nothing", 404)):
        answer = alice.get(path, headers={"Origin": FRONT_END})
        assert answer.status_code == status
        assert answer.headers["Access-Control-Allow-Origin"] == FRONT_END
        assert "X-Request-Id" in answer.headers["Access-Control-Expose-Headers"]
        assert "Origin" in answer.headers["Vary"]
        assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize(
    ("path", "method"),
    [("/api/tenants", "POST"), ("/api/users/me", "PATCH"), ("/api/auth/login", "POST")],
)
def test_a_page_of_ours_may_ask(open_to_one: Flask, path: str, method: str) -> None:
    """Without a token: browsers send none with the question."""
    answer = preflight(open_to_one, path, method)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == FRONT_END
    assert method in answer.headers["Access-Control-Allow-Methods"].split(", ")
    assert "Authorization" in answer.headers["Access-Control-Allow-Headers"].split(", ")
    assert answer.headers["Access-Control-Max-Age"] == "600"


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "https://app.example.com.evil.example", "http://app.example.com",
     "https://app.example.com:444", "https://app.example.com/", "HTTPS://APP.EXAMPLE.COM", "null",
     "", "*"],
)  # fmt: skip
def test_no_other_page_may(open_to_one: Flask, alice: Person, origin: str) -> None:
    assert granted(preflight(open_to_one, "/api/tenants", "POST", origin)) == {}
    answer = alice.get("/api/users/me", headers={"Origin": origin})
    assert granted(answer) == {}
    assert "Origin" in answer.headers["Vary"], "a cache may not hand it to another origin"


def test_nobody_may_where_none_is_named(app: Flask, cast: Cast) -> None:
    assert granted(preflight(app, "/api/tenants", "POST")) == {}
    assert granted(cast.alice.get("/api/users/me", headers={"Origin": FRONT_END})) == {}


def test_what_does_not_exist_is_not_granted(open_to_one: Flask) -> None:
    answer = preflight(open_to_one, "/nothing", "POST")
    assert answer.status_code == 404
    assert "Access-Control-Allow-Methods" not in answer.headers
