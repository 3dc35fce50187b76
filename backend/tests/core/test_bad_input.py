"""Whatever is sent to any route, it is the sender's mistake and never ours.

The table is generated from what the routes state of themselves, so a new route is in it.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote
from uuid import uuid4

import pytest
from flask import Flask
from marshmallow import Schema, fields, validate
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from app.core.examples import example_of
from app.core.http import Endpoint, stated_endpoint
from tests.cast import House, Person, new_house, new_person
from tests.core.answers import refusal
from tests.core.apps import unconnected_app
from tests.core.bad_json import NO_JSON
from tests.core.test_multipart import END, FILE, FORM, REFUSED

LONG = "x" * 100_000
HUGE = int("9" * 400)

# What is none of these, in JSON.
NOT_TEXT: Final[tuple[object, ...]] = (None, True, 1, 1.5, [], ["x"], {}, {"$ne": ""})
NOT_INTEGER: Final[tuple[object, ...]] = (
    None,
    True,
    "1",
    "\u0661",
    "",
    1.5,
    "NaN",
    [],
    [1],
    {},
    HUGE,
    -HUGE,
)
NOT_BOOLEAN: Final[tuple[object, ...]] = (None, 0, 1, "true", "yes", "", [], {})
NOT_A_LIST: Final[tuple[object, ...]] = (None, True, 1, "x", {}, {"0": 1})
NOT_AN_OBJECT: Final[tuple[object, ...]] = (None, True, 1, "x", [], [[]])
NOT_AN_ID: Final[tuple[object, ...]] = (None, True, 1, "", "x", [], {}, LONG, "{" + "0" * 32)
NOT_AN_INTEGER_IN_A_QUERY: Final = (
    "", "x", "1.0", "1e3", "0x1", "1_0", "+1", " 1", "1 ", "\u0661\u0662", "\uff11", "NaN",
    "Infinity", "true",    "[1]", "null", "9" * 19, "9" * 5000, "-" + "9" * 400, "1,2", "\ufeff1",
)  # fmt: skip
NOT_A_TIME_IN_A_QUERY: Final = (
    "", "yesterday", "0", "1e9", "2026-13-01T00:00:00Z", "2026-01-01T00:00:00", "2026-01-01",
    "10000-01-01T00:00:00Z", "2026-01-01T00:00:00+99:99", "-2026-01-01T00:00:00Z",
    "\u0662\u0660\u0662\u0666-01-01T00:00:00Z", "9" * 400,
)  # fmt: skip
NOT_IN_A_PATH: Final = (
    "x", "0", "-1", "\u0661\u0662", "null", "undefined", "[]", "{}", "*", "'", '"', ";",
    "%2e%2e", "%25", "%ff", "%ed%a0%80", "%f0%9f%92%a3", "%0d%0aX-A:%20b", "9" * 400,
    "x" * 4000, "%E2%80%AE",
    str(uuid4())[:-1], str(uuid4()) + "x", "%7b" + str(uuid4()) + "%7d", "urn:uuid:" + str(uuid4()),
)  # fmt: skip
QUERIES: Final = (
    "%00", "a=%00", "%ff=%fe", "a=%ed%a0%80", "a=1&a=2", "=", "&&&", "a[]=1", "a[b]=1", "%", "%zz",
    "a=" + "x" * 5000, "&".join(f"a{number}=1" for number in range(2000)), "a=%F0%9F%92%A3",
    "limit=10&limit=10", "__proto__=1", "a;b=c", "?" * 100,
)  # fmt: skip
HEADERS: Final = (
    ("Range", "bytes=--1"), ("Range", "bytes=9-1"), ("Range", "bytes=" + "9" * 400 + "-"),
    ("Range", "bytes=" + ",".join(["0-0"] * 2000)), ("Range", "lines=1-2"),
    ("Range", "bytes=\u0661-\u0662"), ("Range", "bytes=-" + "9" * 400), ("Range", ""),
    ("Range", "bytes"), ("Range", "=;,"),
    ("If-Range", '"'), ("If-Range", "x" * 5000), ("If-None-Match", '"' * 999), ("If-Match", ",,"),
    ("If-None-Match", "W/"), ("If-Modified-Since", "yesterday"), ("If-Unmodified-Since", "\xff"),
    ("If-Modified-Since", "Thu, 99 Foo 99999 99:99:99 GMT"), ("Accept", ";q=x"), ("Accept", "\xff"),
    ("Accept-Language", "x" * 5000), ("Accept-Encoding", "q=,;"), ("Cookie", "=;=\xff;" * 500),
    ("Content-Type", "\xff/;"), ("Content-Type", "application/json; charset=utf-7"),
    ("Content-Length", "-1"), ("Host", "a b"), ("Host", ""), ("Host", "x" * 5000),
    ("Origin", "\xff"), ("User-Agent", "\xff" * 2000), ("X-Request-Id", "\xff"),
    ("X-Tenant-Slug", "\xff"), ("X-Tenant-Slug", "x" * 5000),
    ("X-Forwarded-For", "," * 2000),
    ("X-HTTP-Method-Override", "DELETE"), ("Expect", "x"), ("Authorization", "Bearer \xff\x00"),
    ("Authorization", "Basic Og=="), ("Authorization", "Bearer " + "." * 5000),
)  # fmt: skip
NO_KEYS: Final = (
    "", " ", "a b", "a,b", '"', '"a', 'a"', '""', "a\\", "\x7f", "\xff", "a\x00", "a;b", "x" * 256,
    '"' + "x" * 256 + '"',
)  # fmt: skip
NO_TAGS: Final = (
    "", ",", '"', "W/", 'W/"', "x" * 5000, '"' * 999, "\xff", "\x00", ",".join(['"x"'] * 500), "1",
)  # fmt: skip
NO_FORM_TYPES: Final = (
    "", "text/plain", "application/json", "application/x-www-form-urlencoded",
    "multipart/form-data", "multipart/form-data; boundary=", "multipart/mixed; boundary=b", "\xff",
    "multipart/form-data\x00; boundary=b",
)  # fmt: skip
NO_JSON_TYPES: Final = (
    "", "text/plain", "application/xml", "application/x-www-form-urlencoded", "application/jsonx",
    "multipart/form-data", "multipart/form-data; boundary=b", "\xff", "application/json\x00",
    "application/merge-patch+json", "x" * 5000,
)  # fmt: skip


@dataclass(frozen=True)
class Operation:
    """A method of a route, with an address below a tenant of Alice's that names nothing else."""

    method: str
    rule: Rule
    stated: Endpoint

    @property
    def name(self) -> str:
        return f"{self.method} {self.rule.rule}"

    def path(self, house: House, **replaced: str) -> str:
        ids = {name: quote(str(uuid4())) for name in self.rule.arguments}
        ids |= {"tenant_id": str(house.id)} | replaced
        parts = [
            ids[content] if is_argument else content
            for is_argument, content in self.rule._trace
            if content != "|"
        ]
        return "".join(parts)


def operations() -> list[Operation]:
    app = unconnected_app()
    found = []
    for rule in app.url_map.iter_rules():
        stated = stated_endpoint(app.view_functions[rule.endpoint])
        if stated is not None:
            methods = (rule.methods or set()) - {"HEAD", "OPTIONS"}
            found += [Operation(method, rule, stated) for method in methods]
    return sorted(found, key=lambda each: each.name)


ALL: Final = operations()
WITH_BODY: Final = [each for each in ALL if each.stated.body is not None]
WITH_QUERY: Final = [each for each in ALL if each.stated.query is not None]
WITH_FILE: Final = [each for each in ALL if each.stated.takes_file]
WITH_PATH: Final = [each for each in ALL if each.rule.arguments]
WITH_KEY: Final = [each for each in ALL if each.stated.idempotent]
WITH_TAG: Final = [each for each in ALL if each.stated.conditional]
HARMLESS: Final = [each for each in ALL if each.method == "GET"]


def over(chosen: list[Operation]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("operation", chosen, ids=[each.name for each in chosen])


@pytest.fixture(scope="module")
def person(app: Flask) -> Person:
    with app.app_context():
        return new_person(app, "Petra", platform_role="platform_admin")


@pytest.fixture(scope="module")
def house(app: Flask, person: Person) -> House:
    with app.app_context():
        return new_house("badly", person)


def refused(answer: TestResponse, sent: object) -> None:
    assert 400 <= answer.status_code < 500, (answer.status_code, str(sent)[:200], answer.text[:200])
    refusal(answer, answer.status_code)


def wrong_values(field: fields.Field[Any]) -> Iterator[object]:
    known: tuple[tuple[type[fields.Field[Any]], tuple[object, ...]], ...] = (
        (fields.UUID, NOT_AN_ID),
        (fields.String, NOT_TEXT),
        (fields.Integer, NOT_INTEGER),
        (fields.Boolean, NOT_BOOLEAN),
        (fields.List, NOT_A_LIST),
        (fields.Nested, NOT_AN_OBJECT),
        (fields.Dict, NOT_AN_OBJECT),
        (fields.DateTime, NOT_AN_ID),
    )
    values = next(values for kind, values in known if isinstance(field, kind))
    yield from (value for value in values if value is not None or not field.allow_none)
    if isinstance(field, fields.String):
        yield from ("a\x00b", "\ud800")
    if isinstance(field, fields.List) and not field.allow_none:
        yield from ([value] for value in wrong_values(field.inner))


def wrong_arguments(field: fields.Field[Any]) -> Iterator[str]:
    if isinstance(field, fields.Integer):
        yield from NOT_AN_INTEGER_IN_A_QUERY
    elif isinstance(field, fields.DateTime):
        yield from NOT_A_TIME_IN_A_QUERY
    elif isinstance(field, fields.UUID):
        yield from (value for value in NOT_AN_ID if isinstance(value, str))
    elif any(isinstance(rule, validate.OneOf) for rule in field.validators):
        yield from ("", "x", "null", "\u0130", "9" * 400)


def input_fields(schema: type[Schema]) -> Iterator[tuple[str, fields.Field[Any]]]:
    for name, field in schema().fields.items():
        if not field.dump_only:
            yield field.data_key or name, field


@over(WITH_BODY)
def test_the_control(operation: Operation, context: Flask) -> None:
    """Each document below is wrong in one place only: the example itself is right."""
    schema = operation.stated.body
    assert schema is not None
    assert schema().load(example_of(schema()))


@over(WITH_BODY)
def test_a_wrong_value_in_a_field(operation: Operation, person: Person, house: House) -> None:
    schema = operation.stated.body
    assert schema is not None
    good = example_of(schema())
    path = operation.path(house)
    for name, field in input_fields(schema):
        for value in wrong_values(field):
            body = json.dumps(good | {name: value})
            answer = person.send(operation.method, path, data=body, content_type="application/json")
            refused(answer, body)


@over(WITH_BODY)
def test_a_document_that_is_another(operation: Operation, person: Person, house: House) -> None:
    schema = operation.stated.body
    assert schema is not None
    good = example_of(schema())
    documents = [*NOT_AN_OBJECT, [good], good | {"unknown": 1}, good | {"": 1}, good | {"id": LONG}]
    for document in documents:
        # Not json=, which sends no body for None.
        given = {"data": json.dumps(document), "content_type": "application/json"}
        refused(person.send(operation.method, operation.path(house), **given), document)
    for content_type in NO_JSON_TYPES:
        answer = person.send(
            operation.method,
            operation.path(house),
            data=json.dumps(good),
            content_type=content_type,
        )
        refusal(answer, 415)


@over(WITH_BODY)
@pytest.mark.parametrize("name", NO_JSON)
def test_what_is_no_json(operation: Operation, person: Person, house: House, name: str) -> None:
    answer = person.send(
        operation.method, operation.path(house), data=NO_JSON[name], content_type="application/json"
    )
    refusal(answer, 400, "bad_request")


@over(WITH_BODY)
def test_a_body_that_is_too_large(operation: Operation, person: Person, house: House) -> None:
    body = b'{"a": "' + b"x" * person.app.config["MAX_JSON_BYTES"] + b'"}'
    answer = person.send(
        operation.method, operation.path(house), data=body, content_type="application/json"
    )
    refusal(answer, 413)


@over(WITH_FILE)
@pytest.mark.parametrize("form", REFUSED)
def test_what_is_no_form(operation: Operation, person: Person, house: House, form: str) -> None:
    given = {"data": REFUSED[form], "content_type": FORM}
    refused(person.send(operation.method, operation.path(house), **given), form)


@over(WITH_FILE)
def test_what_does_not_say_that_it_is_a_form(
    operation: Operation, person: Person, house: House
) -> None:
    for content_type in NO_FORM_TYPES:
        given = {"data": FILE + END, "content_type": content_type}
        refusal(person.send(operation.method, operation.path(house), **given), 415)


@over(WITH_QUERY)
def test_a_wrong_argument(operation: Operation, person: Person, house: House) -> None:
    schema = operation.stated.query
    assert schema is not None
    for name, field in input_fields(schema):
        for value in ("\x00", *wrong_arguments(field)):
            path = f"{operation.path(house)}?{name}={quote(value, errors='surrogatepass')}"
            refused(person.send(operation.method, path), path)
        if not isinstance(field, fields.List):
            twice = f"{operation.path(house)}?{name}=1&{name}=1"
            refused(person.send(operation.method, twice), twice)


@over(HARMLESS)
def test_a_query_that_nobody_wrote(operation: Operation, person: Person, house: House) -> None:
    for query in QUERIES:
        answer = person.get(f"{operation.path(house)}?{query}")
        assert answer.status_code < 500, (query[:100], answer.text[:200])
        if operation.stated.query is not None and "=" in query.strip("="):
            refused(answer, query)


@over(WITH_PATH)
def test_an_address_that_nobody_gave(operation: Operation, person: Person, house: House) -> None:
    for name in operation.rule.arguments:
        for value in NOT_IN_A_PATH:
            path = operation.path(house, **{name: value})
            refused(person.send(operation.method, path), path)
        path = operation.path(house, **{name: "%00"})
        refusal(person.send(operation.method, path), 400)


@over(HARMLESS)
def test_headers_that_nobody_reads(operation: Operation, person: Person, house: House) -> None:
    for name, value in HEADERS:
        variable = name.upper().replace("-", "_")
        wire = {variable if variable.startswith("CONTENT") else f"HTTP_{variable}": value}
        answer = person.get(operation.path(house), environ_overrides=wire)
        assert answer.status_code < 500, (name, value[:100], answer.text[:200])


@over(WITH_KEY)
def test_a_key_that_is_none(operation: Operation, person: Person, house: House) -> None:
    """With all else as the contract shows it."""
    schema = operation.stated.body
    body = {} if schema is None else {"json": example_of(schema())}
    form = {"data": FILE + END, "content_type": FORM} if operation.stated.takes_file else body
    for key in NO_KEYS:
        wire = {"HTTP_IDEMPOTENCY_KEY": key}
        answer = person.send(
            operation.method, operation.path(house), environ_overrides=wire, **form
        )
        refusal(answer, 400, "idempotency_key_invalid")


@over(WITH_TAG)
def test_a_tag_that_is_none(operation: Operation, person: Person, house: House) -> None:
    for tag in NO_TAGS:
        wire = {"HTTP_IF_MATCH": tag}
        refused(person.send(operation.method, operation.path(house), environ_overrides=wire), tag)
