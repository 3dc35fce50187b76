"""A trail as a file: read and sent piece by piece, however long it is."""

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from heapq import merge
from operator import attrgetter
from typing import Any, Final, Literal
from uuid import UUID

import orjson

from app.core import clock, events
from app.core.http import OpenPlane, Plane
from app.domains.audit import queries
from app.domains.audit.events import TrailExported
from app.domains.audit.models import Entry, PlatformEntry, TenantEntry
from app.domains.audit.queries import AnyEntry, Filters

Format = Literal["csv", "jsonl"]
# An entry's fields by name, as JSON can hold them.
Dump = Callable[[Entry], dict[str, Any]]

_BATCH: Final = 500
# What a spreadsheet takes for the beginning of a formula, and what it passes over before one.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


def export(
    open_session: OpenPlane,
    *,
    of_tenant: bool,
    filters: Filters,
    form: Format,
    columns: Sequence[str],
    dump: Dump,
) -> Iterator[bytes]:
    """What happened until now, oldest first; recorded before the first byte.

    No transaction stays open while somebody reads slowly: each batch has one of its own. What
    breaks off in the middle breaks the connection off.
    """
    now = clock.now()
    filters = replace(filters, until=min(filters.until or now, now))
    with open_session("tenant" if of_tenant else "main") as session:
        told = TrailExported(tenant_id=filters.tenant_id, filters=filters.given(), format=form)
        events.record(session, told)
    entries: Iterator[Entry] = _rows(open_session, "main", PlatformEntry, filters)
    if of_tenant:
        own = _rows(open_session, "tenant_reads", TenantEntry, filters)
        entries = merge(entries, own, key=attrgetter("id"))
    dumped = map(dump, entries)
    return _begun(_csv(columns, dumped) if form == "csv" else _lines(dumped))


def _rows(
    open_session: OpenPlane, plane: Plane, table: type[AnyEntry], filters: Filters
) -> Iterator[Entry]:
    after: UUID | None = None
    batch = None
    while batch is None or len(batch) == _BATCH:
        with open_session(plane) as session:
            batch = queries.entries(
                session, table, filters, after=after, limit=_BATCH, oldest_first=True
            )
        yield from batch
        after = batch[-1].id if batch else None


def _begun(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same, whose first piece is there: what fails before it is answered as any failure."""
    first = next(pieces, b"")

    def rest() -> Iterator[bytes]:
        yield first
        yield from pieces

    return rest()


def _lines(entries: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    """JSON Lines (jsonlines.org)."""
    for entry in entries:
        yield orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE)


def _csv(columns: Sequence[str], entries: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    """RFC 4180 in UTF-8, with the names of the columns in the first line."""
    line = _Line()
    writer = csv.writer(line)
    writer.writerow(columns)
    yield line.take()
    for entry in entries:
        writer.writerow(cell(entry[name]) for name in columns)
        yield line.take()


class _Line:
    """What the writer writes to."""

    def __init__(self) -> None:
        self._text = ""

    def write(self, text: str) -> None:
        self._text += text

    def take(self) -> bytes:
        text, self._text = self._text, ""
        return text.encode()


def cell(value: object) -> str:
    """The value as text that no spreadsheet runs: an apostrophe goes before what it would."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else orjson.dumps(value).decode().strip('"')
    return f"'{text}" if text.startswith(_FORMULA) else text
