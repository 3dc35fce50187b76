"""Logs: one JSON object per line, with the request's context and without secrets."""

import io
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from app.core.http import PUBLIC, SIGNED_IN, endpoint
from app.core.logs import JsonFormatter, log_context
from app.settings import Settings
from tests.cast import PASSWORD, Cast, new_person
from tests.core.answers import refusal
from tests.core.apps import another_app, elsewhere
from tests.domains.documents.files import upload
from tests.paths import BACKEND

logger = logging.getLogger("app.tests")


class Lines:
    def __init__(self) -> None:
        self.stream = io.StringIO()

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return map(json.loads, self.text.split("\n")[:-1])

    def __getitem__(self, message: str) -> dict[str, Any]:
        (found,) = (line for line in self if line["message"] == message)
        return found


@pytest.fixture
def lines() -> Iterator[Lines]:
    """What a process writes from here on, also what only a developer would turn on."""
    lines = Lines()
    handler = logging.StreamHandler(lines.stream)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield lines
    finally:
        root.setLevel(level)
        root.removeHandler(handler)


def test_a_line_says_when_what_and_from_where(lines: Lines) -> None:
    logger.info("a %s", "message", extra={"tries": 3})
    line = lines["a message"]
    assert (line["level"], line["logger"], line["tries"]) == ("info", "app.tests", 3)
    assert line["time"].endswith("+00:00")


def test_a_message_stays_on_its_line(lines: Lines) -> None:
    """Whoever gets text into a log cannot add a line of his own."""
    logger.warning('name\n{"level":"error","message":"forged"}\r\n\u2028')
    assert lines.text.count("\n") == 1
    assert "\r" not in lines.text
    assert len(list(lines)) == 1


@pytest.mark.parametrize(
    "value", ["\ud800", 2**70, object(), {1: "a"}, {("a", "b"): {1, 2}}, b"\xff", float("nan")]
)
def test_a_line_is_never_lost_for_what_is_in_it(value: object) -> None:
    record = logging.makeLogRecord({"msg": "odd: %s", "args": (value,), "value": value})
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert line.encode()
    assert json.loads(line)["message"].startswith("odd: ")


def test_a_trace_is_told(lines: Lines) -> None:
    try:
        int("reason")
    except ValueError:
        logger.exception("it failed")
    assert "ValueError: invalid literal" in lines["it failed"]["trace"]


def test_context_lives_as_long_as_its_block(lines: Lines) -> None:
    with log_context(tenant="acme", user="alice"):
        with log_context(user="bob", task="purge"):
            logger.info("inner")
        logger.info("outer")
    logger.info("outside")
    assert {"tenant": "acme", "user": "bob", "task": "purge"}.items() <= lines["inner"].items()
    assert lines["outer"]["user"] == "alice"
    assert "task" not in lines["outer"]
    assert not {"tenant", "user"} & set(lines["outside"])


def test_context_is_each_threads_own(lines: Lines) -> None:
    with log_context(tenant="acme"):
        thread = threading.Thread(target=lambda: logger.info("in a thread"))
        thread.start()
        thread.join(10)
    assert "tenant" not in lines["in a thread"]


@endpoint(allow=PUBLIC, transaction=None)
def view_that_logs() -> None:
    logger.info("public")


@endpoint(allow=SIGNED_IN, transaction=None)
def view_that_logs_somebody() -> None:
    logger.info("signed in")


@endpoint(allow="documents:read", transaction="tenant")
def view_that_logs_a_tenant() -> None:
    logger.info("in a tenant")


def test_every_line_of_a_request_names_it_and_who_asks(
    app: Flask, settings: Settings, cast: Cast, lines: Lines
) -> None:
    with another_app(settings) as own:
        own.add_url_rule("/public", "public", view_that_logs)
        own.add_url_rule("/signed-in", "signed_in", view_that_logs_somebody)
        own.add_url_rule("/tenants/<uuid:tenant_id>", "tenant", view_that_logs_a_tenant)
        alice = elsewhere(cast.alice, own)
        ids = {
            message: alice.get(path).headers["X-Request-Id"]
            for message, path in (
                ("public", "/public"),
                ("signed in", "/signed-in"),
                ("in a tenant", f"/tenants/{cast.acme.id}"),
            )
        }
    for message, request_id in ids.items():
        assert lines[message]["request_id"] == request_id
    assert "user" not in lines["public"]
    for message in ("signed in", "in a tenant"):
        assert lines[message]["user"] == str(cast.alice.user_id)
    assert "tenant" not in lines["signed in"]
    assert lines["in a tenant"]["tenant"] == str(cast.acme.id)


def test_each_request_has_a_line(app: Flask, cast: Cast, lines: Lines) -> None:
    answer = cast.alice.get(cast.acme.documents + "?limit=1&cursor=")
    line = lines["request"]
    assert line.pop("milliseconds") >= 0
    assert {name: line[name] for name in line if name not in {"time", "level", "message"}} == {
        "logger": "app.core.traffic",
        "method": "GET",
        "route": "/api/tenants/<tenant:tenant_id>/documents",
        "status": answer.status_code,
        "request_id": answer.headers["X-Request-Id"],
        "user": str(cast.alice.user_id),
        "tenant": str(cast.acme.id),
    }


@pytest.mark.parametrize("path", ["/api/links/canary-1", "/canary-2", "/health?token=canary-3"])
def test_an_address_is_not_logged(app: Flask, lines: Lines, path: str) -> None:
    """It may hold a link's token; and of what is no route, anything."""
    app.test_client().get(path, headers={"User-Agent": "canary-4", "Cookie": "a=canary-5"})
    assert lines["request"]["status"] in {200, 403, 404}
    assert "user" not in lines["request"]
    assert "canary" not in lines.text


def test_a_day_of_work_leaves_no_secret_in_the_log(
    app: Flask, context: Flask, settings: Settings, cast: Cast, lines: Lines
) -> None:
    person = new_person(app, "Alice")
    client = app.test_client()
    wrong = {"email": person.email, "password": "a wrong one, with secrets"}
    refusal(client.post("/api/auth/login", json=wrong), 401)
    refresh = {"refresh_token": person.tokens["refresh_token"]}
    new = client.post("/api/auth/refresh", json=refresh).get_json()
    refusal(client.post("/api/auth/refresh", json={"refresh_token": "made-up-token"}), 401)
    document = upload(cast.alice, cast.acme, b"the content of a file")
    path = f"{cast.acme.documents}/{document['id']}/download-url"
    link = cast.alice.get(path).get_json()["url"].rpartition("/")[2]
    client.get(f"/api/links/{link}", buffered=True)
    refusal(client.get(f"/api/links/{link[:-4]}"), 403)
    refusal(client.get("/api/users/me", headers={"Authorization": "Bearer forged-token"}), 401)
    person.post("/api/auth/logout")
    logger.info("the end")
    assert lines["the end"]
    for secret in (
        PASSWORD,
        wrong["password"],
        "made-up-token",
        "forged-token",
        "the content of a file",
        link,
        *(str(value) for value in (*person.tokens.values(), *new.values()) if len(str(value)) > 20),
        settings.secret_key.get_secret_value(),
        settings.secrets_keys[0].get_secret_value(),
        settings.database_url.get_secret_value(),
    ):
        assert secret not in lines.text


def test_sqlalchemy_echo_tells_statements_without_their_values(
    settings: Settings, cast: Cast, lines: Lines
) -> None:
    engine = logging.getLogger("sqlalchemy.engine")
    level = engine.level
    logging.getLogger().setLevel(logging.INFO)
    try:
        with another_app(settings, sqlalchemy_echo=True) as app:
            there = elsewhere(cast.alice, app)
            assert there.get("/api/users/me").status_code == 200
            refusal(there.get(f"{cast.acme.documents}/{cast.acme.id}"), 404)
    finally:
        engine.setLevel(level)
    told = [line["message"] for line in lines if line["logger"].startswith("sqlalchemy.engine")]
    assert any("FROM users" in each for each in told)
    assert any("FROM documents" in each for each in told)
    assert cast.alice.email not in lines.text


def test_processes_write_to_standard_error() -> None:
    """Containers collect it, and standard output belongs to programs' answers."""
    code = "from app.core import logs; import logging; logs.configure(); logging.info('hello')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=BACKEND,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == ""
    assert json.loads(done.stderr)["message"] == "hello"
