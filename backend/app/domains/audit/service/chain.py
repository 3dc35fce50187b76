"""The chain once more, computed from the rows that are there; what the database's function made.

Each entry's hash is SHA-256 over the one before it and the entry as a JSON array, in the form of
PostgreSQL's jsonb. docs/audit.md spells it out for those who verify with a program of their own.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from app.domains.audit.service.findings import Finding

_COLUMNS: Final = (
    "position, hash, id, recorded_at, type, target, user_id, on_behalf_of, session_id, request_id,"
    " task, commitment, salt, address, details::text AS details, erased_by"
)
_OWN: Final = 16


class Row(NamedTuple):
    """``details`` is the text of the column; ``whose`` what only the platform's entries have."""

    position: int
    hash: bytes
    id: UUID
    recorded_at: datetime
    type: str
    target: str
    user_id: UUID | None
    on_behalf_of: UUID | None
    session_id: UUID | None
    request_id: str | None
    task: str | None
    commitment: bytes | None
    salt: UUID | None
    address: str | None
    details: str
    erased_by: UUID | None
    whose: tuple[UUID | None, ...]

    def hash_after(self, former: bytes) -> bytes:
        """What its hash has to be, behind that one."""
        body = json.dumps(
            [
                self.position,
                str(self.id),
                self.recorded_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
                self.type,
                self.target,
                _text(self.user_id),
                _text(self.on_behalf_of),
                _text(self.session_id),
                self.request_id,
                self.task,
                None if self.commitment is None else self.commitment.hex(),
                *map(_text, self.whose),
            ],
            ensure_ascii=False,
        )
        return hashlib.sha256(former + body.encode()).digest()

    def is_committed_to(self) -> bool:
        """Whether address and details are those that the commitment is of."""
        secret = [json.dumps(each, ensure_ascii=False) for each in (_text(self.salt), self.address)]
        body = f"[{secret[0]}, {secret[1]}, {self.details}]"
        return hashlib.sha256(body.encode()).digest() == self.commitment


def sealed_rows(table: str, *, with_tenant: bool) -> str:
    """The query for the rows of a chain, in its order."""
    columns = f"{_COLUMNS}, tenant_id" if with_tenant else _COLUMNS
    return f"SELECT {columns} FROM {table} WHERE position IS NOT NULL ORDER BY position"  # noqa: S608


def row_of(values: Sequence[Any]) -> Row:
    """From what the query gives."""
    return Row._make([*values[:_OWN], tuple(values[_OWN:])])


class Chain:
    """Follows a chain from its beginning, and tells what does not fit.

    After a row that does not fit it goes on from the hash that the row has, so that each change is
    told once.
    """

    def __init__(self) -> None:
        self.head = 0
        self.hash = b""
        self.erased: dict[UUID, int] = {}

    def follow(self, row: Row) -> Iterator[Finding]:
        if row.position != self.head + 1:
            yield Finding(
                "removed",
                f"{row.position - self.head - 1} entries before position {row.position} are gone",
                position=self.head + 1,
            )
        elif row.hash_after(self.hash) != row.hash:
            yield Finding(
                "changed",
                "this is not the entry that was sealed here",
                position=row.position,
                entry=row.id,
            )
        if row.erased_by is not None:
            self.erased[row.erased_by] = self.erased.get(row.erased_by, 0) + 1
        elif not row.is_committed_to():
            yield Finding(
                "changed",
                "its address or details are not those that were recorded",
                position=row.position,
                entry=row.id,
            )
        self.head, self.hash = row.position, row.hash


def _text(value: UUID | None) -> str | None:
    return None if value is None else str(value)
