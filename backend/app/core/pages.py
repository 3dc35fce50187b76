"""Keyset pages: items and an opaque, signed cursor to what follows them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar
from uuid import UUID

from flask import Flask, current_app
from itsdangerous import BadSignature, URLSafeSerializer
from marshmallow import Schema, fields, validate

from app.core.errors import Unprocessable

Item = TypeVar("Item")

DEFAULT_LIMIT = 50
MAXIMUM_LIMIT = 200


class PageQuery(Schema):
    """``cursor`` is the next_cursor of a former page; without it, the first page."""

    cursor = fields.String(load_default=None)
    limit = fields.Integer(
        load_default=DEFAULT_LIMIT, validate=validate.Range(min=1, max=MAXIMUM_LIMIT)
    )


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    items: Sequence[Item]
    next_cursor: str | None


class Cursors:
    """Signs the id of a page's last item, so that a cursor cannot be made up."""

    def __init__(self, secret_key: str) -> None:
        self._serializer = URLSafeSerializer(secret_key, salt="cursor")

    def dump(self, item_id: UUID) -> str:
        return str(self._serializer.dumps(item_id.hex))

    def load(self, cursor: str) -> UUID:
        """The id after which the page begins.

        Raises:
            Unprocessable: the cursor was not made here.
        """
        try:
            return UUID(self._serializer.loads(cursor))
        except (BadSignature, ValueError, TypeError, AttributeError):
            message = "Use the next_cursor of a former page, unchanged."
            raise Unprocessable(message, errors={"cursor": [message]}) from None


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
