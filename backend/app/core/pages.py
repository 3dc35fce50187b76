"""Keyset pages: items and an opaque, signed cursor to what follows them."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar
from uuid import UUID

import orjson
from flask import Flask, current_app
from itsdangerous import BadSignature, URLSafeSerializer
from marshmallow import Schema, fields, validate

from app.core.errors import Unprocessable
from app.core.fields import QueryInteger

Item = TypeVar("Item")

DEFAULT_LIMIT = 50
MAXIMUM_LIMIT = 200


class PageQuery(Schema):
    """``cursor`` is the next_cursor of a former page; without it, the first page."""

    cursor = fields.String(load_default=None)
    limit = QueryInteger(
        load_default=DEFAULT_LIMIT, validate=validate.Range(min=1, max=MAXIMUM_LIMIT)
    )


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    items: Sequence[Item]
    next_cursor: str | None


class Cursors:
    """Signs where a page ended, so that a cursor cannot be made up."""

    def __init__(self, secret_key: str) -> None:
        self._serializer = URLSafeSerializer(secret_key, salt="cursor")

    def dump(self, item_id: UUID) -> str:
        """For lists in the order of their ids."""
        return str(self._serializer.dumps(item_id.hex))

    def load(self, cursor: str) -> UUID:
        """The id after which the page begins.

        Raises:
            Unprocessable: the cursor was not made here.
        """
        try:
            return UUID(self._loads(cursor))  # type: ignore[arg-type]  # what it is not, raises
        except (ValueError, TypeError, AttributeError):
            raise _not_ours() from None

    def dump_position(self, position: Sequence[object], *, query: object) -> str:
        """For lists in any other order: the last item's values in that order.

        ``query`` is what was asked (which list, order, filters), as JSON can hold it: the cursor
        continues no other.
        """
        return str(self._serializer.dumps([_fingerprint(query), *position]))

    def load_position(self, cursor: str, *, query: object) -> list[object]:
        """The values after which the page begins.

        Raises:
            Unprocessable: the cursor was not made here, or for another query.
        """
        content = self._loads(cursor)
        if not isinstance(content, list) or content[:1] != [_fingerprint(query)]:
            raise _not_ours()
        return content[1:]

    def _loads(self, cursor: str) -> object:
        try:
            return self._serializer.loads(cursor)
        except (BadSignature, ValueError, TypeError):
            raise _not_ours() from None


def _not_ours() -> Unprocessable:
    message = "Use the next_cursor of a former page, unchanged, with the same query."
    return Unprocessable(message, errors={"cursor": [message]})


def _fingerprint(query: object) -> str:
    canonical = orjson.dumps(query, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(canonical).hexdigest()[:16]


def init_app(app: Flask, cursors: Cursors) -> None:
    app.extensions["cursors"] = cursors


def current_cursors() -> Cursors:
    cursors: Cursors = current_app.extensions["cursors"]
    return cursors


def page_of(
    rows: Sequence[Item],
    *,
    limit: int,
    cursors: Cursors,
    id_of: Callable[[Item], UUID],
) -> Page[Item]:
    """A page from up to ``limit + 1`` rows: the one too many only says that more follow."""
    items = rows[:limit]
    more = len(rows) > limit
    return Page(items, cursors.dump(id_of(items[-1])) if more else None)
