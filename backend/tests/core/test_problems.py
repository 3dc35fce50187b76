"""Whatever goes wrong is told as application/problem+json, and tells nothing of the inside."""

import io
import json
import logging
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
from flask import Flask
from marshmallow import Schema, fields
from pydantic import SecretStr
from sqlalchemy import text

from app.core import errors
from app.core.db import main_session
from app.core.http import PUBLIC, endpoint
from app.settings import Settings
from embedded.ports import free_port
from tests.cast import Cast
from tests.core.answers import refusal
from tests.core.apps import another_app

SECRET = "hunter2-hunter2"


class Numbers(Schema):
    numbers = fields.List(fields.Integer(strict=True), required=True)


@endpoint(allow=PUBLIC, transaction=None)
def view_that_fails() -> None:
    raise RuntimeError(f"a secret: {SECRET}")


@endpoint(allow=PUBLIC, transaction=None)
def view_with_bad_sql() -> None:
    with main_session() as session:
        session.execute(text("SELECT no_such_column WHERE :secret <> ''"), {"secret": SECRET})


@endpoint(allow=PUBLIC, transaction=None, body=Numbers)
def view_with_a_list() -> None:
    raise AssertionError("not reached")


@endpoint(allow=PUBLIC, transaction="tenant")
def view_without_a_tenant() -> None:
    raise AssertionError("not reached")


@endpoint(allow=PUBLIC, transaction=None)
def view_whose_connection_ends() -> None:
    with main_session() as session:
        session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))


@pytest.fixture(scope="module")
def broken(app: Flask, settings: Settings) -> Iterator[Flask]:
    """An instance with routes that go wrong."""
    with another_app(settings) as broken:
        broken.add_url_rule("/fails", "fails", view_that_fails)
        broken.add_url_rule("/sql", "sql", view_with_bad_sql)
        broken.add_url_rule("/list", "list", view_with_a_list, methods=["POST"])
        broken.add_url_rule("/tenant", "tenant", view_without_a_tenant)
        broken.add_url_rule("/ended", "ended", view_whose_connection_ends)
        yield broken


@pytest.mark.parametrize("path", ["/fails", "/sql", "/tenant"])
def test_the_unexpected_tells_nothing_of_itself(
    broken: Flask, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    with caplog.at_level(logging.ERROR):
        answer = broken.test_client().get(path)
    problem = refusal(answer, 500, "internal_error")
    for word in (SECRET, "RuntimeError", "Traceback", "column", "SELECT", "tenant plane"):
        assert word not in answer.text
    told = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(told) == 1, "once, with its trace"
    assert told[0].exc_info
    assert vars(told[0])["request_id"] == problem["request_id"]


def test_statements_are_logged_without_their_values(
    broken: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    """A statement's parameters are hashes of passwords, sealed logins, people's addresses."""
    broken.test_client().get("/sql")
    assert "no_such_column" in caplog.text
    assert SECRET not in caplog.text


def test_errors_of_a_lists_items_are_told(broken: Flask) -> None:
    """Marshmallow names them by number, and JSON knows only text as a key."""
    answer = broken.test_client().post("/list", json={"numbers": [1, "x", 2.5]})
    assert refusal(answer, 422)["errors"] == {
        "numbers": {"1": ["Not a valid integer."], "2": ["Not a valid integer."]}
    }


@pytest.mark.parametrize(
    "path",
    ["/", "/api", "/nothing", "/api/tenants/", "/static/x", "/api/users/me/", "/.env", "/日本",
     "/%F0%9F%92%A3", "/%ff", "/api/../health", "/a" * 2000],
)  # fmt: skip
def test_an_unknown_route(app: Flask, path: str) -> None:
    refusal(app.test_client().get(path), 404, "not_found")


@pytest.mark.parametrize("path", ["/%00", "/api/users/me%00", "/api/tenants/%00/documents"])
def test_nul_in_the_path(app: Flask, cast: Cast, path: str) -> None:
    refusal(app.test_client().get(path, headers=cast.alice.headers), 400, "bad_request")


@pytest.mark.parametrize("query", ["cursor=%00", "%00=1", "limit=1%00", "a=b&c=%00"])
def test_nul_in_the_query(app: Flask, cast: Cast, query: str) -> None:
    path = f"{cast.acme.documents}?{query}"
    refusal(app.test_client().get(path, headers=cast.alice.headers), 400, "bad_request")


@pytest.mark.parametrize("query", ["%ff=%fe", "limit=%ff", "cursor=%ED%A0%80", "&&==&", "a" * 5000])
def test_a_query_that_is_no_text(cast: Cast, query: str) -> None:
    refusal(cast.alice.get(f"{cast.acme.documents}?{query}"), 422)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/api/auth/login", {"POST", "OPTIONS"}),
        ("DELETE", "/api/tenants", {"GET", "HEAD", "POST", "OPTIONS"}),
        ("POST", "/health", {"GET", "HEAD", "OPTIONS"}),
        ("PATCH", "/api/auth/sessions", {"GET", "HEAD", "OPTIONS", "DELETE"}),
        ("TRACE", "/health", {"GET", "HEAD", "OPTIONS"}),
        ("NONSENSE", "/health", {"GET", "HEAD", "OPTIONS"}),
    ],
)
def test_a_method_that_is_not_allowed(
    app: Flask, method: str, path: str, allowed: set[str]
) -> None:
    answer = app.test_client().open(path, method=method)
    refusal(answer, 405, "method_not_allowed")
    assert set(answer.headers["Allow"].split(", ")) == allowed


def test_each_answer_has_an_id_of_its_own(app: Flask) -> None:
    client = app.test_client()
    answers = [client.get("/health") for _ in range(3)] + [client.get("/nothing")]
    ids = {answer.headers["X-Request-Id"] for answer in answers}
    assert len(ids) == 4
    assert all(ids)


@pytest.mark.parametrize(
    "given", ["0123456789abcdef", "5B534d3b-9ea8-4ed7-9730-83f89b7134dc", "a_b-" * 16]
)
def test_a_clients_request_id(app: Flask, given: str) -> None:
    """Of a proxy or another service, so that its log and ours tell of the same request."""
    answer = app.test_client().get("/nothing", headers={"X-Request-Id": given})
    assert refusal(answer, 404)["request_id"] == given


@pytest.mark.parametrize(
    "given", ["", "chosen", "0123456789abcde", "x" * 65, "0123456789abcdef;", "0123456789 abcdef",
              "<script>alert(1)", "\u00e4" * 16, '{"level":"error"}"', "..%2f..%2f..%2f.."],
)  # fmt: skip
def test_a_clients_request_id_that_is_none(app: Flask, given: str) -> None:
    wire = {"HTTP_X_REQUEST_ID": given}
    answer = app.test_client().get("/health", environ_overrides=wire)
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-Id"])


def test_every_error_has_a_status_a_code_and_a_title_of_its_own() -> None:
    kinds = errors.AppError.__subclasses__()
    for field in ("status", "code", "title"):
        values = [getattr(kind, field) for kind in kinds]
        assert len(set(values)) == len(values), field


@pytest.fixture
def silent_server() -> Iterator[int]:
    """The port of somebody who listens and never says a word."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        yield int(listener.getsockname()[1])


@pytest.mark.parametrize("way", ["closed", "silent"])
def test_a_main_database_that_is_away(
    settings: Settings, cast: Cast, silent_server: int, way: str
) -> None:
    port = free_port() if way == "closed" else silent_server
    changes: dict[str, Any] = {
        "database_url": SecretStr(f"postgresql://nobody:{SECRET}@127.0.0.1:{port}/nowhere"),
        "connect_timeout": 2,
    }
    with another_app(settings, **changes) as app, ThreadPoolExecutor(1) as pool:
        client = app.test_client()
        assert client.get("/health").status_code == 200

        def log_in() -> Any:
            return client.post("/api/auth/login", json={"email": "a@example.com", "password": "x"})

        def read() -> Any:
            return client.get("/api/users/me", headers=cast.alice.headers)

        for request in (log_in, read) if way == "closed" else (log_in,):
            answer = pool.submit(request).result(timeout=15)
            refusal(answer, 503, "unavailable")
            assert int(answer.headers["Retry-After"]) > 0
            assert SECRET not in answer.text


def test_no_connection_left_is_told_as_such(settings: Settings, cast: Cast) -> None:
    changes = {"main_pool_size": 1, "connect_timeout": 2}
    with another_app(settings, **changes) as app, app.app_context():
        with main_session() as session, ThreadPoolExecutor(1) as pool:
            session.execute(text("SELECT 1"))
            request = pool.submit(
                app.test_client().post, "/api/auth/refresh", json={"refresh_token": "x"}
            )
            answer = request.result(timeout=15)
        refusal(answer, 503, "unavailable")
        assert "Retry-After" in answer.headers


def test_a_connection_that_the_server_ends_is_told_as_such(broken: Flask) -> None:
    refusal(broken.test_client().get("/ended"), 503, "unavailable")
    assert broken.test_client().get("/.well-known/jwks.json").status_code == 200


def test_a_problem_is_json_whatever_is_in_it(app: Flask, cast: Cast) -> None:
    answer = cast.alice.post(
        cast.acme.documents, data={"file": (io.BytesIO(b"x"), "\u202e<script>.txt")}
    )
    assert json.loads(answer.data) == refusal(answer, 422)
