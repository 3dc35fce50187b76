"""The verbs: seal anew what a former key sealed, and count what is sealed how."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import inspect, select, tuple_, update
from sqlalchemy.orm import Session

from app.core.sealed_columns import SealedColumn
from app.core.secrets import VAULT_PREFIX, SecretBox, SecretUnreadable

logger = logging.getLogger(__name__)

Opener = Callable[[], AbstractContextManager[Session]]
_BATCH: Final = 200


@dataclass(slots=True)
class Outcome:
    """``unreadable`` names the rows whose secret no key at hand opens."""

    looked_at: int = 0
    resealed: int = 0
    unreadable: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Found:
    key: tuple[Any, ...]
    sealed: str
    context: str


def reseal(
    box: SecretBox,
    columns: Sequence[SealedColumn],
    open_session: Opener,
    outcome: Outcome,
    *,
    tell: Callable[[Outcome], None] = lambda _: None,
) -> None:
    """Seals every secret of these columns as the box does today; can be repeated, and broken off.

    No transaction is open while the box is asked. A row that somebody else writes meanwhile keeps
    what was written.

    Raises:
        Unavailable: what seals is away; what was done so far stays done.
    """
    for column in columns:
        for batch in _batches(column, open_session):
            changed = _resealed(box, column, batch, outcome)
            if changed:
                with open_session() as session:
                    outcome.resealed += sum(
                        _replace(session, column, found, new) for found, new in changed
                    )
            tell(outcome)


def count_kinds(columns: Sequence[SealedColumn], open_session: Opener) -> Counter[str]:
    """How many secrets are sealed by which version of the key in Vault, or by Fernet."""
    return Counter(
        _kind(found.sealed)
        for column in columns
        for batch in _batches(column, open_session)
        for found in batch
    )


def _batches(column: SealedColumn, open_session: Opener) -> Iterator[list[_Found]]:
    key = inspect(column.model).primary_key
    after: tuple[Any, ...] | None = None
    while True:
        chosen = select(column.model).where(column.column.is_not(None))
        if after is not None:
            chosen = chosen.where(tuple_(*key) > tuple_(*after))
        with open_session() as session:
            batch = [
                _Found(
                    inspect(row).identity,
                    getattr(row, column.column.key),
                    column.context(row),
                )
                for row in session.scalars(chosen.order_by(*key).limit(_BATCH))
            ]
        if batch:
            yield batch
        if len(batch) < _BATCH:
            return
        after = batch[-1].key


def _resealed(
    box: SecretBox, column: SealedColumn, batch: Sequence[_Found], outcome: Outcome
) -> list[tuple[_Found, str]]:
    changed = []
    for found in batch:
        outcome.looked_at += 1
        try:
            new = box.resealed(found.sealed, context=found.context)
        except SecretUnreadable:
            row = f"{column.name} {'/'.join(map(str, found.key))}"
            logger.error("a stored secret cannot be read", extra={"row": row})  # noqa: TRY400
            outcome.unreadable.append(row)
            continue
        if new is not None:
            changed.append((found, new))
    return changed


def _replace(session: Session, column: SealedColumn, found: _Found, new: str) -> int:
    """Its times stay: for whoever reads the row, nothing changed."""
    table = column.model.__table__
    key = [part == value for part, value in zip(table.primary_key, found.key, strict=True)]
    result: Any = session.execute(
        update(table)
        .where(*key, table.c[column.column.key] == found.sealed)
        .values({column.column.key: new, "updated_at": table.c.updated_at})
    )
    return int(result.rowcount)


def _kind(sealed: str) -> str:
    if sealed.startswith(VAULT_PREFIX):
        return f"vault {sealed.removeprefix(VAULT_PREFIX).partition(':')[0]}"
    return "fernet"
