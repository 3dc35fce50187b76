"""Dividing tenants into waves: a few first, the others when those have done well.

A wave is ``canary``, a number, a share (``5%``) or ``rest``. Canaries are named by id or slug, or
chosen: ``tag:beta``, ``smallest:3``, ``largest:1``.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from app.domains.fleet.errors import BadOrder
from app.domains.tenants.service.ledger import FleetEntry

CANARY: Final = "canary"
REST: Final = "rest"
_COUNT: Final = re.compile(r"[1-9][0-9]*")
_SHARE: Final = re.compile(r"([1-9][0-9]?|100)%")
_CHOICE: Final = re.compile(r"(tag|smallest|largest):(.+)")


@dataclass(frozen=True, slots=True)
class Wave:
    """A wave's name, as it was asked for, and its tenants in their order."""

    name: str
    entries: Sequence[FleetEntry]


def read_waves(text: str) -> list[str]:
    """The names of the waves in ``canary,5%,rest``; ``rest`` is added where it is left out.

    Raises:
        BadOrder: a name that is none of those.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in {CANARY, REST} and not _COUNT.fullmatch(name) and not _SHARE.fullmatch(name):
            raise BadOrder(f"{name!r} is no wave: canary, a number, a share like 5%, or rest.")
    if names.count(CANARY) > 1 or REST in names[:-1]:
        raise BadOrder("There is one canary wave at most, and rest is the last.")
    return names if names[-1:] == [REST] else [*names, REST]


def divide(
    entries: Sequence[FleetEntry],
    names: Sequence[str],
    *,
    canaries: Sequence[str],
    sizes: Mapping[str, int],
) -> list[Wave]:
    """The waves that hold anybody. ``sizes`` are of databases, in bytes, by name."""
    chosen = _choose(entries, canaries, sizes) if CANARY in names else []
    left = [entry for entry in entries if entry not in chosen]
    waves = []
    for name in names:
        if name == CANARY:
            waves.append(Wave(name, chosen))
            continue
        count = _count(name, len(entries), len(left))
        waves.append(Wave(name, left[:count]))
        left = left[count:]
    return [wave for wave in waves if wave.entries]


def _count(name: str, everybody: int, left: int) -> int:
    if name == REST:
        return left
    if share := _SHARE.fullmatch(name):
        return math.ceil(everybody * int(share[1]) / 100)
    return int(name)


def _choose(
    entries: Sequence[FleetEntry], canaries: Sequence[str], sizes: Mapping[str, int]
) -> list[FleetEntry]:
    """The canaries, none twice; a name that matches nobody is somebody who needs no migration."""
    found: dict[object, FleetEntry] = {}
    for choice in canaries or ("smallest:1",):
        for entry in _chosen_by(choice, entries, sizes):
            found.setdefault(entry.tenant_id, entry)
    return list(found.values())


def _chosen_by(
    choice: str, entries: Sequence[FleetEntry], sizes: Mapping[str, int]
) -> Sequence[FleetEntry]:
    match = _CHOICE.fullmatch(choice)
    if match is None:
        return [each for each in entries if choice in {str(each.tenant_id), each.slug}]
    kind, argument = match.groups()
    if kind == "tag":
        return [each for each in entries if argument in each.tags]
    if not _COUNT.fullmatch(argument):
        raise BadOrder(f"{choice!r} names no number of tenants.")
    # A database whose size nobody knows is not there, or its server is away: no canary.
    known = [each for each in entries if each.location.database in sizes]
    by_size = sorted(known, key=lambda each: sizes[each.location.database])
    return (by_size if kind == "smallest" else by_size[::-1])[: int(argument)]


def needs_sizes(names: Sequence[str], canaries: Sequence[str]) -> bool:
    """Whether the division asks how large databases are."""
    by_size = any(choice.startswith(("smallest:", "largest:")) for choice in canaries)
    return CANARY in names and (by_size or not canaries)
