"""The contract over HTTP, its examples, and the page that shows it."""

import re
from typing import Any

import pytest
from flask import Flask

from app.core import openapi
from app.core.errors import AppError
from app.core.reference import _family
from tests.cast import House, Person, new_house, new_person
from tests.core.answers import refusal
from tests.core.apps import unconnected_app

CONTRACT: dict[str, Any] = openapi.generate(unconnected_app())
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, item in sorted(CONTRACT["paths"].items())
    for method, operation in sorted(item.items())
}
WITH_EXAMPLE = {
    name: operation["requestBody"]["content"]["application/json"]["example"]
    for name, operation in OPERATIONS.items()
    if "application/json" in operation.get("requestBody", {}).get("content", {})
}
UNKNOWN = "01a1fce7-0000-7000-8000-000000000000"


@pytest.fixture
def person(app: Flask) -> Person:
    with app.app_context():
        return new_person(app, "Alice", platform_role="platform_admin")


@pytest.fixture
def house(app: Flask, person: Person) -> House:
    with app.app_context():
        return new_house("example", person)


def test_it_is_served_as_it_is_generated(app: Flask) -> None:
    answer = app.test_client().get("/api/openapi.json")
    assert answer.get_json() == openapi.generate(app)
    assert answer.headers["Cache-Control"] == "no-cache"
    tag = {"If-None-Match": answer.headers["ETag"]}
    assert app.test_client().get("/api/openapi.json", headers=tag).status_code == 304


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_says_what_it_does_and_who_may(name: str) -> None:
    operation = OPERATIONS[name]
    assert operation["summary"].endswith("."), name
    assert len(operation["summary"]) <= 120
    assert operation["x-permission"] in operation["description"] or operation["x-permission"] in {
        "public", "signed_in",
    }  # fmt: skip
    assert "default" in operation["responses"]


def test_operations_have_names_of_their_own() -> None:
    names = [each["operationId"] for each in OPERATIONS.values()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_examples_of_errors_are_ours(name: str) -> None:
    codes = {cls.code: cls.status for cls in _family(AppError)}
    for status, answer in OPERATIONS[name]["responses"].items():
        problem = answer.get("content", {}).get("application/problem+json")
        if problem is not None:
            example = problem["example"]
            assert codes[example["code"]] == example["status"]
            assert status in {"default", str(example["status"])}


@pytest.mark.parametrize("name", WITH_EXAMPLE)
def test_an_example_is_taken(name: str, person: Person, house: House) -> None:
    """It may be refused for what is so, as a wrong password is, and not for its form."""
    method, path = name.split(" ")
    path = re.sub(r"\{\w+\}", UNKNOWN, path.replace("{tenant_id}", str(house.id)))
    answer = person.send(method, path, json=WITH_EXAMPLE[name])
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        code = refusal(answer, answer.status_code)["code"]
        assert code not in {"bad_request", "invalid_payload", "unsupported_media_type"}, answer.text


def test_the_page_loads_nothing_from_elsewhere(app: Flask) -> None:
    client = app.test_client()
    page = client.get("/api/docs")
    assert page.content_type == "text/html; charset=utf-8"
    policy = page.headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "default-src 'none'" in policy
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(addresses) == 4
    for address in addresses:
        assert address.startswith("docs/")
        answer = client.get(f"/api/{address}")
        assert answer.status_code == 200
        assert answer.data
    assert "://" not in page.text
    assert "<script>" not in page.text
    assert 'url: "openapi.json"' in client.get("/api/docs/start.js").text


def test_the_licence_comes_with_it(app: Flask) -> None:
    assert "Apache License" in app.test_client().get("/api/docs/LICENSE").text


@pytest.mark.parametrize("name", ["swagger-ui.js", "..", "index.html", "__init__.py", "VERSION"])
def test_other_files_are_not_served(app: Flask, name: str) -> None:
    refusal(app.test_client().get(f"/api/docs/{name}"), 404)
