"""JSON as no client of ours sends it: each is refused as the sender's mistake."""

import json
import random
from pathlib import Path
from typing import Any

import orjson
import pytest
from flask import Flask

from tests.cast import PASSWORD, Cast
from tests.core.answers import refusal

GOOD = b'{"email": "alice@example.com", "password": "x"}'

# The body, and what it is answered with at /api/auth/login.
CORPUS: dict[str, tuple[bytes, int]] = {
    "empty": (b"", 400),
    "white space": (b"  \n", 400),
    "cut off": (GOOD[:-1], 400),
    "with a rest": (GOOD + b"x", 400),
    "two documents": (GOOD + GOOD, 400),
    "single quotes": (GOOD.replace(b'"', b"'"), 400),
    "a comment": (b"/* */" + GOOD, 400),
    "a trailing comma": (GOOD[:-1] + b",}", 400),
    "a byte order mark": (b"\xef\xbb\xbf" + GOOD, 400),
    "UTF-16": (GOOD.decode().encode("utf-16"), 400),
    "Latin-1": ('{"email": "ä@example.com", "password": "x"}'.encode("latin-1"), 400),
    "NUL as a byte": (GOOD.replace(b"x", b"\x00"), 400),
    "NUL escaped": (GOOD.replace(b'"x"', b'"\\u0000"'), 400),
    "NUL in a key": (GOOD[:-1] + b', "a\\u0000": 1}', 400),
    "NUL deep inside": (b'{"email": [[{"a": ["b\\u0000"]}]]}', 400),
    "a lone surrogate": (GOOD.replace(b'"x"', b'"\\ud800"'), 400),
    "a lone surrogate behind": (GOOD.replace(b'"x"', b'"\\udc00\\ud800"'), 400),
    "a raw surrogate": (GOOD.replace(b"x", b"\xed\xa0\x80"), 400),
    "overlong UTF-8": (GOOD.replace(b"x", b"\xc0\xaf"), 400),
    "NaN": (GOOD.replace(b'"x"', b"NaN"), 400),
    "Infinity": (GOOD.replace(b'"x"', b"Infinity"), 400),
    "minus Infinity": (GOOD.replace(b'"x"', b"-Infinity"), 400),
    "100,000 brackets": (b"[" * 100_000, 400),
    "100,000 brackets, closed": (b"[" * 100_000 + b"]" * 100_000, 400),
    "100,000 braces": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, 400),
    "a hundred brackets": (b"[" * 100 + b"]" * 100, 422),
    "a key twice": (GOOD[:-1] + b', "password": "y"}', 400),
    "a key twice, deep inside": (b'{"email": {"a": 1, "a": 2}}', 400),
    "a key twice, once escaped": (GOOD[:-1] + b', "\\u0070assword": "y"}', 400),
    "a list": (b"[" + GOOD + b"]", 422),
    "an empty list": (b"[]", 422),
    "null": (b"null", 422),
    "a number": (b"1", 422),
    "text": (b'"alice"', 422),
    "true": (b"true", 422),
    "an empty object": (b"{}", 422),
    "null for text": (GOOD.replace(b'"x"', b"null"), 422),
    "a number for text": (GOOD.replace(b'"x"', b"1"), 422),
    "true for text": (GOOD.replace(b'"x"', b"true"), 422),
    "a list for text": (GOOD.replace(b'"x"', b'["x"]'), 422),
    "an object for text": (GOOD.replace(b'"x"', b'{"$ne": ""}'), 422),
    "a huge number": (GOOD.replace(b'"x"', b"9" * 10_000), 400),
    "a huge exponent": (GOOD.replace(b'"x"', b"1e400"), 400),
    "an unknown field": (GOOD[:-1] + b', "role": "owner"}', 422),
    "__proto__": (GOOD[:-1] + b', "__proto__": {}}', 422),
    "an empty key": (GOOD[:-1] + b', "": 1}', 422),
    "a huge key": (b'{"' + b"a" * 100_000 + b'": 1}', 422),
    "10,000 unknown fields": (
        b"{" + b",".join(b'"%d":0' % number for number in range(10_000)) + b"}",
        422,
    ),
    "too large": (b'{"email": "' + b"a" * 2 * 1024**2 + b'"}', 413),
}


def post(app: Flask, path: str, body: bytes, **options: Any) -> Any:
    given = {"content_type": "application/json"} | options
    return app.test_client().post(path, data=body, **given)


@pytest.mark.parametrize("name", CORPUS)
def test_what_is_no_login(app: Flask, name: str) -> None:
    body, status = CORPUS[name]
    refusal(post(app, "/api/auth/login", body), status)


@pytest.mark.parametrize("name", CORPUS)
def test_what_is_no_tenant_and_no_refresh(app: Flask, cast: Cast, name: str) -> None:
    body, _ = CORPUS[name]
    for path in ("/api/tenants", "/api/auth/refresh"):
        answer = post(app, path, body, headers=cast.alice.headers)
        assert answer.status_code in {400, 413, 422}
        refusal(answer, answer.status_code)


def test_the_control_is_read(app: Flask, cast: Cast) -> None:
    refusal(post(app, "/api/auth/login", GOOD), 401)
    document = {"email": cast.alice.email, "password": PASSWORD}
    assert post(app, "/api/auth/login", orjson.dumps(document)).status_code == 200


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonx", "json",
     "multipart/form-data; boundary=b", "application/ld+json", "ÿ"],
)  # fmt: skip
def test_what_does_not_say_that_it_is_json(app: Flask, content_type: str) -> None:
    refusal(post(app, "/api/auth/login", GOOD, content_type=content_type), 415)


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "APPLICATION/JSON"])
def test_what_does_say_it(app: Flask, content_type: str) -> None:
    refusal(post(app, "/api/auth/login", GOOD, content_type=content_type), 401)


@pytest.mark.parametrize("length", ["0", "-1", "many", "", "99999999999999999999", "1e3", "+5"])
def test_a_length_that_is_none(app: Flask, length: str) -> None:
    """Servers refuse most of these themselves; behind another one they may arrive."""
    wire = {"CONTENT_LENGTH": length}
    answer = post(app, "/api/auth/login", GOOD, environ_overrides=wire)
    assert answer.status_code in {400, 401, 413}, answer.text
    refusal(answer, answer.status_code)


def test_the_largest_body_that_is_read(app: Flask) -> None:
    limit = app.config["MAX_JSON_BYTES"]
    padding = b" " * (limit - len(GOOD))
    refusal(post(app, "/api/auth/login", GOOD + padding), 401)
    refusal(post(app, "/api/auth/login", GOOD + padding + b" "), 413, "payload_too_large")


def test_the_invalid_documents_of_the_json_test_suite(app: Flask) -> None:
    suite = json.loads((Path(__file__).parent / "json_test_suite.json").read_text("utf-8"))
    assert len(suite["documents"]) == 186
    for name, text in suite["documents"].items():
        answer = post(app, "/api/auth/login", text.encode("latin-1"))
        assert answer.status_code == 400, name


def test_a_thousand_mutations(app: Flask) -> None:
    """Bytes changed, dropped and doubled at random, the same ones in each run."""
    dice = random.Random(2024)
    for _ in range(1000):
        body = bytearray(GOOD)
        for _ in range(dice.randint(1, 4)):
            place = dice.randrange(len(body))
            piece = dice.choice([b"", bytes([dice.randrange(256)]), body[place:], b'"', b"\\u"])
            body[place : place + dice.randint(0, 3)] = piece
        answer = post(app, "/api/auth/login", bytes(body))
        assert answer.status_code in {400, 401, 413, 422}, bytes(body)


def test_a_get_with_a_body_does_not_mind_it(app: Flask, cast: Cast) -> None:
    answer = app.test_client().get(
        "/api/users/me", data=b"{", headers=cast.alice.headers, content_type="application/json"
    )
    assert answer.status_code == 200
