"""What a query string means depends on nothing else: it is loaded once and kept (`core.http`)."""

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import pytest
from flask import Flask, current_app
from marshmallow import Schema, ValidationError, fields

from app.core import clock
from app.core.examples import example_of
from app.core.http import stated_endpoint

_WORLD: Final = frozenset({"time", "posix", "_socket", "_random", "_io"})
_ASKING: Final = ("ContextVar.", "datetime.now", "datetime.utcnow", "datetime.today", "date.today")


def query_schemas(app: Flask) -> Iterator[type[Schema]]:
    for view in app.view_functions.values():
        stated = stated_endpoint(view)
        if stated is not None and stated.query is not None:
            yield stated.query


def asked_while(work: Callable[[], object]) -> list[str]:
    """What the work asks of a clock, of its context (so of settings, tenant, caller), of a file."""
    asked: list[str] = []

    def look(_frame: object, event: str, called: Any) -> None:
        if event == "c_call":
            name = getattr(called, "__qualname__", "")
            if called.__module__ in _WORLD or name.startswith(_ASKING):
                asked.append(name)

    gc.disable()  # what it closes is not the work's
    sys.setprofile(look)
    try:
        work()
    finally:
        sys.setprofile(None)
        gc.enable()
    return [name for name in asked if name != "setprofile"]


def arguments_of(schema: Schema) -> dict[str, Any]:
    """One of each, as a query string gives them."""
    return {
        name: [str(each) for each in value] if isinstance(value, list) else str(value)
        for name, value in example_of(schema).items()
    }


def load_in_every_way(schema: Schema) -> None:
    """All arguments, none, and each alone: a hook runs where the fields are right."""
    arguments = arguments_of(schema)
    for given in (arguments, {}, *({name: value} for name, value in arguments.items())):
        with suppress(ValidationError):
            schema.load(given)


def test_only_the_query_string_decides(app: Flask) -> None:
    schemas = set(query_schemas(app))
    assert len(schemas) > 10
    for kind in schemas:
        assert asked_while(partial(load_in_every_way, kind())) == [], kind


class OfToday(Schema):
    since = fields.Date(load_default=lambda: clock.now().date())


class AtOnce(Schema):
    since = fields.AwareDateTime(load_default=lambda: datetime.now(UTC))


class BySettings(Schema):
    name = fields.String(validate=lambda name: len(name) < current_app.config["MAX_JSON_BYTES"])


@pytest.mark.parametrize("kind", [OfToday, AtOnce, BySettings])
def test_a_query_that_asks_more_is_seen(app: Flask, kind: type[Schema]) -> None:
    with app.app_context():
        assert asked_while(partial(load_in_every_way, kind()))
