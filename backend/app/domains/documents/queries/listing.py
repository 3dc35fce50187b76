"""The one query behind lists of documents.

It selects columns, not entities: a page of fifty entities costs several times as much. Its text is
made once for each combination of order and filters, and only the values change. What it tells of
files is looked up for the page's rows alone.
"""

import html
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Double,
    Select,
    Subquery,
    bindparam,
    cast,
    func,
    literal_column,
    null,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import ARRAY, TSQUERY
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.types import DateTime, Integer, Text, Uuid

from app.core.questions import Question
from app.domains.documents.models import Document, File, FileText
from app.domains.documents.queries import CONFIGURATION
from app.tenancy.sessions import TenantRows

# In the order in which a document is shown.
_COLUMNS: Final[tuple[InstrumentedAttribute[Any], ...]] = (
    Document.id,
    Document.name,
    Document.content_type,
    Document.size,
    File.digest,
    File.processing,
    File.processing_reason,
    File.detected_type,
    Document.owner_id,
    Document.tags,
    Document.version,
    Document.revision,
    Document.created_at,
    Document.updated_at,
)
_SHOWN: Final = len(_COLUMNS)
RELEVANCE: Final = "relevance"
_ASKED: Final = func.websearch_to_tsquery(CONFIGURATION, bindparam("q", type_=Text))
SORTS: Final[Mapping[str, ColumnElement[Any]]] = {
    "created": Document.created_at.expression,
    "name": Document.folded_name.expression,
    "size": Document.size.expression,
    "updated": Document.updated_at.expression,
    RELEVANCE: cast(func.ts_rank(FileText.words, _ASKED), Double),
}
# Where a row shows what decides its place; of other orders that comes last.
_PLACES: Final[Mapping[str, int]] = {
    name: shown
    for name, column in SORTS.items()
    for shown, each in enumerate(_COLUMNS)
    if each.expression is column
}
_NOWHERE: Final = literal_column("0", Integer)
# No text of ours holds them.
_BEGIN, _END = "\x02", "\x03"
_WORDS: Final = 10
# A page of long texts is not parsed from end to end: only what surrounds the first word found.
_BEFORE, _AROUND = literal_column("500", Integer), literal_column("4000", Integer)
_FIRST: Final = func.regexp_instr(
    FileText.text,
    bindparam("first_word", type_=Text),
    *(literal_column(each) for each in ("1", "1", "0", "'i'")),
    type_=Integer,
)
_SNIPPET: Final = func.ts_headline(
    CONFIGURATION,
    func.substr(FileText.text, func.greatest(_FIRST - _BEFORE, literal_column("1")), _AROUND),
    _ASKED,
    literal_column(
        f'\'MaxFragments=2, MaxWords=30, MinWords=10, FragmentDelimiter=" … ",'
        f" StartSel={_BEGIN}, StopSel={_END}'"
    ),
).label("snippet")
# Each has an index (migrations 0003 and 0009).
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
    "q": lambda: FileText.words.op("@@")(_ASKED),
    "tags": lambda: Document.tags.contains(bindparam("tags", type_=ARRAY(Text))),
}


def page(
    session: TenantRows,
    *,
    sort: str,
    descending: bool,
    after: tuple[Any, UUID] | None,
    limit: int,
    filters: Mapping[str, Any],
) -> list[tuple[Any, ...]]:
    """Up to ``limit`` rows, for `shown` and `place`.

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
    if "q" in wanted:
        values["first_word"] = _first_of(wanted["q"])
        rows = session.ask(question, values)
        return [(*row[:_SHOWN], _marked(row[_SHOWN]), *row[_SHOWN + 1 :]) for row in rows]
    return session.ask(question, values)


def shown(row: tuple[Any, ...]) -> dict[str, Any]:
    """A document as a list shows it; written out, it takes a third of the time that zip() does."""
    (
        document_id, name, content_type, size, digest, processing, processing_reason,
        detected_type, owner_id, tags, version, revision, created_at, updated_at, snippet, *_,
    ) = row  # fmt: skip
    return {
        "id": document_id,
        "name": name,
        "content_type": content_type,
        "size": size,
        "digest": digest,
        "processing": processing,
        "processing_reason": processing_reason,
        "detected_type": detected_type,
        "owner_id": owner_id,
        "tags": tags,
        "version": version,
        "revision": revision,
        "created_at": created_at,
        "updated_at": updated_at,
        "snippet": snippet,
    }


def place(row: tuple[Any, ...], sort: str) -> tuple[Any, UUID]:
    """Where the row stands in that order."""
    return row[_PLACES.get(sort, -1)], row[0]


@lru_cache(maxsize=512)
def _question(
    sort: str, filters: frozenset[str], limit: int, *, descending: bool, continued: bool
) -> Question:
    place = SORTS[sort]
    position = tuple_(place, Document.id)
    statement = (
        select(
            *(column for column in _COLUMNS if column.class_ is Document),
            Document.file_id,
            place.label("position"),
        )
        .where(Document.deleted_at.is_(None), *(FILTERS[name]() for name in sorted(filters)))
        .order_by(*_ordered(place, Document.id, descending=descending))
        # In the text: for an unknown limit the server makes a new plan each time.
        .limit(literal_column(str(limit), Integer))
    )
    if "q" in filters:
        statement = statement.join(FileText, FileText.file_id == Document.file_id)
    if continued:
        after = tuple_(
            bindparam("after_value", type_=place.type), bindparam("after_id", type_=Uuid)
        )
        statement = statement.where(position < after if descending else position > after)
    page = _with_files(
        statement.subquery("page"), sort, descending=descending, searched="q" in filters
    )
    return Question.of(page, depends_on_values=bool(filters))


def _with_files(page: Subquery, sort: str, *, descending: bool, searched: bool) -> Select[Any]:
    shown = select(
        *(page.c[column.key] if column.class_ is Document else column for column in _COLUMNS),
        _SNIPPET if searched else null(),
        *(() if sort in _PLACES else (page.c.position,)),
    ).join_from(page, File, File.id == page.c.file_id)
    if searched:
        shown = shown.join(FileText, FileText.file_id == page.c.file_id)
    return shown.order_by(*_ordered(page.c.position, page.c.id, descending=descending))


def _ordered(*columns: ColumnElement[Any] | InstrumentedAttribute[Any], descending: bool) -> Any:
    return [column.desc() for column in columns] if descending else columns


def _first_of(asked: str) -> str:
    """A regular expression for the beginning of any of the words."""
    return r"\m(?:" + "|".join(re.findall(r"\w+", asked)[:_WORDS]) + ")"


def _marked(found: str) -> str:
    """As HTML, in which nothing but our marks is markup."""
    return html.escape(found).replace(_BEGIN, "<mark>").replace(_END, "</mark>")


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
