"""The types of events that others are told of, and the JSON Schema of each one's data."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from inspect import cleandoc
from typing import Any, Final

from pydantic import TypeAdapter

from app.core.events import Event

TOPICS: Final = ("events", "files")
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True, slots=True)
class EventType:
    type: str
    topic: str
    description: str
    schema: dict[str, Any]


@cache
def catalogue() -> Mapping[str, EventType]:
    """Every type by its public name, of all domains that are imported by now."""
    found = {each.public_type(): each for each in _family(Event) if each.public_version is not None}
    return {name: _described(name, found[name]) for name in sorted(found)}


def _family(cls: type[Event]) -> Iterator[type[Event]]:
    for child in cls.__subclasses__():
        if "type" in vars(child):
            yield child
        yield from _family(child)


def _described(name: str, cls: type[Event]) -> EventType:
    given: dict[str, Any] = TypeAdapter(cls).json_schema()
    fields = {
        field: {key: value for key, value in schema.items() if key != "title"}
        for field, schema in given["properties"].items()
        if field not in cls.withheld
    }
    schema = {
        "$schema": _DIALECT,
        "title": name,
        "type": "object",
        "properties": fields,
        # Also what has a default is always told.
        "required": sorted(fields),
    }
    # A dataclass without a docstring of its own has its signature as one.
    text = cleandoc(vars(cls).get("__doc__") or "")
    own = "" if text.startswith(f"{cls.__name__}(") else " ".join(text.replace("``", "`").split())
    return EventType(name, cls.topic, own, schema)


def shrunk(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What readers of the old schema would miss in events of the new one."""
    faults = []
    for field, schema in old["properties"].items():
        if field not in new["properties"]:
            faults.append(f"{field} is gone")
        elif new["properties"][field] != schema:
            faults.append(f"{field} is another")
        elif field in old["required"] and field not in new["required"]:
            faults.append(f"{field} may be missing")
    return faults
