"""The contract over HTTP, its examples, and the page that shows it."""

import re
from typing import Any

import orjson
import pytest
from flask import Flask, Response
from werkzeug.test import Client

from app.core import openapi
from app.core.errors import AppError
from app.core.reference import _family
from tests.cast import House, Person, new_house, new_person
from tests.core import contract
from tests.core.answers import refusal
from tests.core.apps import unconnected_app
from tests.core.contract import conforms, things

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


def described(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer of the contract, which may be one of its components."""
    if "$ref" not in answer:
        return answer
    found: dict[str, Any] = CONTRACT["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    return found


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
        problem = described(answer).get("content", {}).get("application/problem+json")
        if problem is not None:
            example = problem["example"]
            assert codes[example["code"]] == example["status"]
            assert status in {"default", str(example["status"])}


@pytest.mark.parametrize("name", WITH_EXAMPLE)
def test_an_example_is_taken(name: str, person: Person, house: House) -> None:
    """It may be refused for what is so, as a wrong password is, and not for its form."""
    method, path = name.split(" ")
    there = things(person, house)
    path = re.sub(r"\{(\w+)\}", lambda named: there.get(named[1], lambda: UNKNOWN)(), path)
    answer = person.send(method, path, json=WITH_EXAMPLE[name])
    conforms(contract.OPERATIONS[name], answer)
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        code = refusal(answer, answer.status_code)["code"]
        assert code not in {"bad_request", "invalid_payload", "unsupported_media_type"}, answer.text


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_example_of_an_answer_is_one(name: str) -> None:
    """And a page of a list shows what it is a list of."""
    for status, answer in OPERATIONS[name]["responses"].items():
        for media_type, content in described(answer).get("content", {}).items():
            if media_type.endswith("json") and status != "default":
                body = orjson.dumps(content["example"])
                told = Response(body, int(status), mimetype=media_type)
                conforms(contract.OPERATIONS[name], Client(told).get("/"))
                assert content["example"].get("items") != []


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
