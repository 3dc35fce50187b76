"""The one query behind lists of documents.

It selects columns, not entities: a page of fifty entities costs several times as much. Its text is
made once for each combination of order and filters, and only the values change.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    bindparam,
    cast,
    func,
    literal_column,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import ARRAY, TSQUERY
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.types import DateTime, Integer, Text, Uuid

from app.core.db import Question
from app.domains.documents.models import Document, File
from app.tenancy.sessions import TenantReads

_COLUMNS: Final = (
    Document.id,
    Document.name,
    Document.content_type,
    Document.size,
    # Not a join: it is looked up for the page's rows alone, whatever the planner thinks of them.
    select(File.digest).where(File.id == Document.file_id).scalar_subquery().label("digest"),
    Document.owner_id,
    Document.tags,
    Document.version,
    Document.revision,
    Document.created_at,
    Document.updated_at,
)
NAMES: Final = tuple(column.key for column in _COLUMNS)
SORTS: Final[Mapping[str, InstrumentedAttribute[Any]]] = {
    "created": Document.created_at,
    "name": Document.folded_name,
    "size": Document.size,
    "updated": Document.updated_at,
}
_NOWHERE: Final = literal_column("0", Integer)
# Each has an index (migration 0003).
FILTERS: Final[Mapping[str, Callable[[], ColumnElement[bool]]]] = {
    # The parts narrow it down through the index, the name itself decides.
    "name": lambda: (
        func.name_parts(Document.folded_name).op("@@")(cast(bindparam("name_parts"), TSQUERY))
        & (func.strpos(Document.folded_name, bindparam("name", type_=Text)) > _NOWHERE)
    ),
    "content_type": lambda: Document.content_type == bindparam("content_type", type_=Text),
    "content_family": lambda: Document.content_type.like(
        bindparam("content_family", type_=Text), escape="\\"
    ),
    "owner_id": lambda: Document.owner_id == bindparam("owner_id", type_=Uuid),
    "created_from": lambda: (
        Document.created_at >= bindparam("created_from", type_=DateTime(timezone=True))
    ),
    "created_to": lambda: (
        Document.created_at < bindparam("created_to", type_=DateTime(timezone=True))
    ),
    "tags": lambda: Document.tags.contains(bindparam("tags", type_=ARRAY(Text))),
}


def page(
    session: TenantReads,
    *,
    sort: str,
    descending: bool,
    after: tuple[Any, UUID] | None,
    limit: int,
    filters: Mapping[str, Any],
) -> list[tuple[Any, ...]]:
    """Up to ``limit`` rows: the values of `NAMES`, and last the one that decides the order.

    ``filters`` are values by the names of `FILTERS`, None for one that is not wanted.
    """
    wanted = {name: value for name, value in filters.items() if value not in (None, [])}
    question = _question(
        sort, frozenset(wanted), limit, descending=descending, continued=after is not None
    )
    values = wanted
    if after is not None:
        values["after_value"], values["after_id"] = after
    if "name" in wanted:
        values["name"] = wanted["name"].casefold()
        values["name_parts"] = _parts_of(values["name"])
    return session.ask(question, values)


@lru_cache(maxsize=512)
def _question(
    sort: str, filters: frozenset[str], limit: int, *, descending: bool, continued: bool
) -> Question:
    place = SORTS[sort]
    position = tuple_(place, Document.id)
    statement = (
        select(*_COLUMNS, place.label("position"))
        .where(Document.deleted_at.is_(None), *(FILTERS[name]() for name in sorted(filters)))
        .order_by(*((place.desc(), Document.id.desc()) if descending else (place, Document.id)))
        # In the text: for an unknown limit the server makes a new plan each time.
        .limit(literal_column(str(limit), Integer))
    )
    if continued:
        after = tuple_(
            bindparam("after_value", type_=place.type), bindparam("after_id", type_=Uuid)
        )
        statement = statement.where(position < after if descending else position > after)
    return Question.of(statement, depends_on_values=bool(filters))


def _parts_of(piece: str) -> str:
    """A tsquery for names that hold all three-character parts of the piece.

    A shorter piece is the beginning of some part.
    """
    longest = 3
    last = max(len(piece) - longest, 0)
    ending = "" if len(piece) >= longest else ":*"
    return " & ".join(_quoted(piece[place : place + longest]) + ending for place in range(last + 1))


def _quoted(part: str) -> str:
    """A lexeme as tsquery's syntax has it (PostgreSQL, section 8.11.2)."""
    return "'" + part.replace("\\", "\\\\").replace("'", "''") + "'"
