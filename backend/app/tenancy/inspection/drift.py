"""How one catalog differs from another: in words, and as the SQL that would mend it."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from app.tenancy.inspection.catalog import Catalog, Object


class Change(StrEnum):
    MISSING = "missing"
    EXTRA = "extra"
    CHANGED = "changed"


class SchemaDiffers(RuntimeError):
    """A database is not what its revision makes."""


@dataclass(frozen=True, slots=True)
class Difference:
    """``repair`` is SQL for its schema's owner; commented out where it would lose rows."""

    change: Change
    kind: str
    name: str
    words: str
    repair: str


# What is made first and taken away last.
_ORDER: Final = (
    "schema",
    "extension",
    "type",
    "sequence",
    "table",
    "column",
    "default of column",
    "NOT NULL of column",
    "function",
    "constraint",
    "index",
    "view",
    "trigger",
    "policy",
    "owner",
    "default privileges",
    "grant",
)


def differences(expected: Catalog, actual: Catalog) -> list[Difference]:
    """What has to be taken away first, in the order that dependencies ask for, then the rest."""
    keys = expected.keys() | actual.keys()
    changed = [key for key in keys if _definition(expected, key) != _definition(actual, key)]
    found = [_compare(key, expected.get(key), actual.get(key)) for key in sorted(changed)]
    found = [each for each in found if not _follows_from_its_table(each, found)]
    return sorted(found, key=_place)


def _definition(catalog: Catalog, key: tuple[str, str]) -> str | None:
    return catalog[key].create if key in catalog else None


def _compare(key: tuple[str, str], expected: Object | None, actual: Object | None) -> Difference:
    kind, name = key
    if actual is None and expected is not None:
        words = f"{kind} {name} is missing; it would be: {expected.create}"
        return Difference(Change.MISSING, kind, name, words, f"{expected.create};")
    if expected is None and actual is not None:
        words = f"{kind} {name} should not be there: {actual.create}"
        repair = f"{actual.drop};"
        if actual.drops_data:
            repair = f"-- loses data: {repair}"
        return Difference(Change.EXTRA, kind, name, words, repair)
    if expected is None or actual is None:
        raise ValueError("a difference has two sides")
    words = f"{kind} {name} is: {actual.create} instead of: {expected.create}"
    repair = f"{expected.alter or f'{actual.drop}; {expected.create}'};"
    if actual.drops_data and not expected.alter:
        repair = f"-- loses data: {repair}"
    return Difference(Change.CHANGED, kind, name, words, repair)


def _follows_from_its_table(difference: Difference, found: list[Difference]) -> bool:
    """A table that should not be there says enough; its columns need not be told of."""
    if difference.change is not Change.EXTRA or difference.kind == "table":
        return False
    return any(_belongs(difference, table) for table in _extra_tables(found))


def _extra_tables(found: list[Difference]) -> Iterator[str]:
    return (each.name for each in found if (each.change, each.kind) == (Change.EXTRA, "table"))


def _belongs(difference: Difference, table: str) -> bool:
    of_it = difference.name.startswith((f"{table}.", f"TABLE {table} ", f"COLUMN {table}."))
    index = difference.kind == "index" and f" ON {table} " in difference.words
    return of_it or index or difference.name == f"TABLE {table}"


def _place(difference: Difference) -> tuple[int, int, str]:
    place = _ORDER.index(difference.kind) if difference.kind in _ORDER else len(_ORDER)
    if difference.change is Change.EXTRA:
        return (0, -place, difference.name)
    return (1, place, difference.name)
