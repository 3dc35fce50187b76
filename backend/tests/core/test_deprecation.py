"""A route that will go says so, to programs and to people."""

from datetime import date
from typing import Any

from flask import Flask

from app.core import openapi
from app.core.deprecation import Deprecation
from app.core.errors import NotFound
from app.core.http import PUBLIC, endpoint
from app.settings import Settings
from tests.core.answers import refusal
from tests.core.apps import another_app

OLD = Deprecation(since=date(2026, 11, 24), sunset=date(2027, 6, 1), instead="GET /health.")


@endpoint(allow=PUBLIC, transaction=None, deprecated=OLD)
def old() -> dict[str, Any]:
    """What was there before."""
    raise NotFound("It was never much.")


def test_each_answer_and_the_contract_say_until_when(settings: Settings) -> None:
    with another_app(settings) as app:
        app.add_url_rule("/old", "old", old)
        answer = app.test_client().get("/old")
        refusal(answer, 404)
        assert answer.headers["Deprecation"] == "@1795478400"
        assert answer.headers["Sunset"] == "Tue, 01 Jun 2027 00:00:00 GMT"
        operation = openapi.generate(app)["paths"]["/old"]["get"]
    assert operation["deprecated"] is True
    assert operation["description"].endswith(
        "Deprecated since 2026-11-24, goes on 2027-06-01. Instead: GET /health."
    )


def test_others_do_not(app: Flask) -> None:
    answer = app.test_client().get("/health")
    assert "Deprecation" not in answer.headers
    assert "Sunset" not in answer.headers
    assert "deprecated" not in openapi.generate(app)["paths"]["/health"]["get"]
