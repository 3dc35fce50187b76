"""A fast dump equals Marshmallow's, whatever the schema and the values are."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from typing import Any
from uuid import UUID

import orjson
import pytest
from marshmallow import Schema, fields, post_dump, pre_dump

from app.core import ids
from app.core.dumping import Uniform, dumper
from app.core.pages import Page
from app.domains.documents import schemas

NOW = datetime(2026, 2, 28, 23, 59, 59, 123456, tzinfo=UTC)


class Colour(StrEnum):
    RED = "red"


class Plain(Schema):
    id = fields.UUID()
    text = fields.String(data_key="words")
    number = fields.Integer(attribute="amount")
    yes = fields.Boolean()
    at = fields.AwareDateTime()
    tags = fields.List(fields.String())


class Pages(Schema):
    items = fields.List(fields.Nested(Plain))
    one = fields.Nested(Plain)
    times = fields.List(fields.AwareDateTime())
    grid = fields.List(fields.List(fields.Integer()))


class WithHook(Plain):
    @post_dump
    def _shout(self, dumped: dict[str, Any], **_: Any) -> dict[str, Any]:
        return {name.upper(): value for name, value in dumped.items()}


class WithHookBefore(Plain):
    @pre_dump
    def _double(self, item: dict[str, Any], **_: Any) -> dict[str, Any]:
        return item | {"amount": 2 * (item.get("amount") or 0)}


class OwnString(fields.String):
    def _serialize(self, value: Any, *arguments: Any, **options: Any) -> Any:
        return f"<{super()._serialize(value, *arguments, **options)}>"


class WithOwnField(Schema):
    text = OwnString()


class WithOwnGetter(Plain):
    def get_attribute(self, obj: Any, attr: str, default: Any) -> Any:
        return "got" if attr == "text" else super().get_attribute(obj, attr, default)


class Counted(Schema):
    amount = fields.Integer(as_string=True)


class Completed(Schema):
    absent = fields.String(dump_default="nothing")


class Deep(Schema):
    deep = fields.String(attribute="inner.text")


class Mailed(Schema):
    at = fields.AwareDateTime(format="rfc")


class Made(Schema):
    made = fields.Method("_made")

    def _made(self, _: Any) -> str:
        return "by hand"


class Numbered(Schema):
    numbers = fields.List(fields.Integer(as_string=True))


@dataclass
class Thing:
    id: UUID
    text: str
    amount: int
    yes: bool
    at: datetime
    tags: list[str]


ROW: dict[str, Any] = {
    "id": UUID(int=5), "text": "plans", "amount": 7, "yes": True, "at": NOW, "tags": ["a", "b"],
    "unwanted": object(), "inner": {"text": "deep"}, "numbers": [1, 2],
}  # fmt: skip
VALUES: list[dict[str, Any]] = [
    {},
    {"text": None, "amount": None, "yes": None, "at": None, "tags": None, "id": None},
    {"tags": []},
    {"tags": ["a", None, 5]},
    {"tags": ("a", "b")},
    {"text": 5},
    {"text": Colour.RED},
    {"text": '日本\u2028\U0001f4a3"\\\x01'},
    {"amount": "7"},
    {"amount": True},
    {"amount": 2**62},
    {"yes": "on"},
    {"yes": 0},
    {"id": str(UUID(int=5))},
    {"at": NOW.replace(microsecond=0)},
    {"at": NOW.replace(microsecond=120)},
    {"at": NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))},
]


def as_json(dump: Callable[[Any], Any], item: Any) -> Any:
    return json.loads(orjson.dumps(dump(item), option=orjson.OPT_NON_STR_KEYS))


def assert_equal(schema: Schema, item: Any) -> None:
    assert as_json(dumper(schema), item) == as_json(schema.dump, item)


@pytest.mark.parametrize("change", VALUES)
@pytest.mark.parametrize(
    "schema",
    [Plain, WithHook, WithHookBefore, WithOwnGetter, WithOwnField, Counted, Completed, Deep,
     Mailed, Made, Numbered],
)  # fmt: skip
def test_equal(schema: type[Schema], change: dict[str, Any]) -> None:
    assert_equal(schema(), ROW | change)


@pytest.mark.parametrize("missing", ["id", "text", "amount", "tags"])
def test_what_is_missing_is_left_out(missing: str) -> None:
    assert_equal(Plain(), {name: value for name, value in ROW.items() if name != missing})


def test_objects_as_well_as_mappings() -> None:
    thing = Thing(UUID(int=5), "plans", 7, yes=True, at=NOW, tags=["a"])
    assert_equal(Plain(), thing)
    assert_equal(Plain(only=("text",)), thing)
    assert_equal(Plain(exclude=("tags",)), thing)
    whole = {"items": [ROW, thing, ROW | {"text": 5}], "one": ROW, "times": [NOW, None]}
    assert_equal(Pages(), whole | {"grid": [[1], [2, "3"]]})
    assert_equal(Pages(), {"items": [], "one": None, "times": None, "grid": []})


def test_a_page_of_documents() -> None:
    row = {
        "id": ids.new_id(), "name": "plans.txt", "content_type": "text/plain", "size": 5,
        "digest": "sha256:", "owner_id": ids.new_id(), "tags": ["a"], "version": 1, "revision": 2,
        "created_at": NOW, "updated_at": NOW, "position": NOW,
    }  # fmt: skip
    assert_equal(schemas.DocumentPage(), Page([row, row], None))


class Named(Schema):
    id = fields.UUID()
    text = fields.String()
    tags = fields.List(fields.String())


class Names(Schema):
    items = fields.List(fields.Nested(Named))


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [(None, None, None), (UUID(int=5), "a", ["b"])],
        [(UUID(int=5), "a", []), (None, None, ["b", None])],
        [(UUID(int=5), None, []), (UUID(int=6), "a", None)],
        [(UUID(int=5), None, None), (None, 7, None)],
        [(None, "a", None), ("00000000-0000-0000-0000-000000000006", "b", None)],
        [(UUID(int=5), "a", []), (UUID(int=6), "b", [7])],
    ],
)
def test_rows_of_one_statement(rows: list[tuple[Any, ...]]) -> None:
    """Whatever their types are, and wherever the first value of a column is found."""
    items = Uniform(dict(zip(("id", "text", "tags"), row, strict=True)) for row in rows)
    assert_equal(Names(), {"items": items})
    assert_equal(Names(), {"items": Uniform({**item, "unwanted": 1} for item in items)})


def test_plain_schemas_do_not_fall_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("Marshmallow was asked")

    schema = Plain()
    dump = dumper(schema)
    monkeypatch.setattr(schema, "dump", refuse)
    dump(ROW)
    with pytest.raises(AssertionError):
        dump(ROW | {"text": 5})
