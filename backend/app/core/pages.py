"""Keyset pages: items and an opaque, signed cursor to what follows them."""

import hashlib
import hmac
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar, cast
from uuid import UUID

import orjson
from flask import Flask, current_app
from marshmallow import Schema, fields, validate

from app.core.errors import Unprocessable
from app.core.fields import QueryInteger

Item = TypeVar("Item")

DEFAULT_LIMIT = 50
MAXIMUM_LIMIT = 200
_MAC_BYTES: Final = 16


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
    """Says where a page ended, with a MAC over that and over what was asked.

    So a cursor cannot be made up, and continues no other list, order or filter. It is read by
    whoever has it.
    """

    def __init__(self, secret_key: str) -> None:
        self._key = hashlib.sha256(b"cursor/" + secret_key.encode()).digest()

    def dump(self, item_id: UUID) -> str:
        """For lists in the order of their ids."""
        return self.dump_position([item_id.hex], query=None)

    def load(self, cursor: str) -> UUID:
        """The id after which the page begins.

        Raises:
            Unprocessable: the cursor was not made here.
        """
        try:
            [item_id] = self.load_position(cursor, query=None)
            return UUID(item_id)
        except (ValueError, TypeError, AttributeError):
            raise _not_ours() from None

    def dump_position(self, position: Sequence[object], *, query: object) -> str:
        """For lists in any other order: the last item's values in that order.

        ``query`` is what was asked (which list, order, filters), as JSON can hold it.
        """
        content = orjson.dumps(position)
        return urlsafe_b64encode(self._mac(content, query) + content).rstrip(b"=").decode()

    def load_position(self, cursor: str, *, query: object) -> list[Any]:
        """The values after which the page begins.

        Raises:
            Unprocessable: the cursor was not made here, or for another query.
        """
        try:
            raw = b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        except ValueError:
            raise _not_ours() from None
        content = raw[_MAC_BYTES:]
        if not hmac.compare_digest(raw[:_MAC_BYTES], self._mac(content, query)):
            raise _not_ours()
        return cast("list[Any]", orjson.loads(content))

    def _mac(self, content: bytes, query: object) -> bytes:
        """Keyed BLAKE2 (RFC 7693). What was asked is one line: JSON writes no line breaks."""
        asked = orjson.dumps(query, option=orjson.OPT_SORT_KEYS)
        mac = hashlib.blake2b(asked + b"\n" + content, key=self._key, digest_size=_MAC_BYTES)
        return mac.digest()


def _not_ours() -> Unprocessable:
    message = "Use the next_cursor of a former page, unchanged, with the same query."
    return Unprocessable(message, errors={"cursor": [message]})


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
