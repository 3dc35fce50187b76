"""An example of what a schema takes and of what it gives: written beside it, or read off it.

A field's own is ``metadata={"example": …}``; for answers, a schema's EXAMPLE has them by field.
Without one its type, choices and bounds give one, and in an answer null, where it may be null.
"""

from collections.abc import Callable
from typing import Any, Final

from marshmallow import Schema, fields, validate

# Of a subclass before its base.
_OF_TYPE: Final[tuple[tuple[type[fields.Field[Any]], object], ...]] = (
    (fields.Email, "alice@example.com"),
    (fields.Url, "https://example.com/"),
    (fields.UUID, "01a1fce7-3c5e-7d6b-9d2e-4f8a1b2c3d4e"),
    (fields.AwareDateTime, "2026-11-21T07:00:00+00:00"),
    (fields.Date, "2026-11-21"),
    (fields.Boolean, True),
    (fields.Dict, {}),
    (fields.Number, 1),
)


def example_of(schema: Schema) -> dict[str, Any]:
    """A document that the schema takes, with every field that may be sent."""
    return {
        field.data_key or name: example_of_field(field)
        for name, field in schema.fields.items()
        if not field.dump_only
    }


def answer_of(schema: Schema) -> dict[str, Any]:
    """A document that the schema gives, with every field."""
    written = getattr(schema, "EXAMPLE", {})
    return {
        field.data_key or name: written[name] if name in written else _answer_of_field(field)
        for name, field in schema.fields.items()
        if not field.load_only
    }


def example_of_field(field: fields.Field[Any]) -> Any:
    return _written_or_inside(field, example_of, example_of_field)


def _answer_of_field(field: fields.Field[Any]) -> Any:
    if field.allow_none and "example" not in field.metadata:
        return None
    return _written_or_inside(field, answer_of, _answer_of_field)


def _written_or_inside(
    field: fields.Field[Any],
    of_schema: Callable[[Schema], object],
    of_field: Callable[[fields.Field[Any]], object],
) -> Any:
    if "example" in field.metadata:
        return field.metadata["example"]
    if isinstance(field, fields.Nested):
        nested = of_schema(field.schema)
        return [nested] if field.many else nested
    if isinstance(field, fields.List):
        return [of_field(field.inner)]
    if isinstance(field, fields.Dict) and field.value_field is not None:
        name = "name" if field.key_field is None else of_field(field.key_field)
        return {name: of_field(field.value_field)}
    return _by_rules(field)


def _by_rules(field: fields.Field[Any]) -> Any:
    for rule in field.validators:
        if isinstance(rule, validate.OneOf):
            return next(iter(rule.choices))
        if isinstance(rule, validate.Range) and rule.min is not None:
            return rule.min
    of_type = [example for kind, example in _OF_TYPE if isinstance(field, kind)]
    return of_type[0] if of_type else _text(field)


def _text(field: fields.Field[Any]) -> str:
    lengths = [rule.min or 0 for rule in field.validators if isinstance(rule, validate.Length)]
    return (field.name or "text").ljust(max(lengths, default=0), "x")
