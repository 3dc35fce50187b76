"""A trail's rows, one after another, against what has to be true of them."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from app.domains.audit.service.chain import Chain, Row
from app.domains.audit.service.checkpoints import Checkpoint, Statement, Verifier
from app.domains.audit.service.findings import Finding, Verdict

# Longer than any transaction, so than the time between an entry's own time and its commit.
_LATEST: Final = timedelta(hours=1)
_TELL_EVERY: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """A trail's checkpoints, and when which database of its was replaced by another one."""

    installation: str
    trail: str
    database: str
    checkpoints: Sequence[Checkpoint]
    swaps: Sequence[tuple[str, datetime]] = ()

    def concerns(self, statement: Statement) -> bool:
        return (statement.installation, statement.trail) == (self.installation, self.trail)

    def is_superseded(self, statement: Statement) -> bool:
        """Whether it speaks of a database that was replaced after it."""
        return statement.database != self.database and any(
            former == statement.database and swapped_at > _time(statement)
            for former, swapped_at in self.swaps
        )


def examine(
    verdict: Verdict,
    rows: Iterable[Row],
    expected: Expected,
    verifier: Verifier,
    tell: Callable[[int], None],
) -> None:
    """Writes into the verdict what it finds; ``tell`` gets how many rows are done."""
    examination = _Examination(verdict, expected, verifier)
    for row in rows:
        verdict.add(*examination.findings_at(row))
        verdict.entries += 1
        if verdict.entries % _TELL_EVERY == 0:
            tell(verdict.entries)
    verdict.add(*examination.findings_at_end())


class _Examination:
    def __init__(self, verdict: Verdict, expected: Expected, verifier: Verifier) -> None:
        self._verdict = verdict
        self._expected = expected
        self._chain = Chain()
        self._seen_at: datetime | None = None
        self._erasures: dict[UUID, int | None] = {}
        genuine = [each.statement for each in self._genuine(verifier)]
        self._ahead = sorted(genuine, key=lambda each: each.position, reverse=True)
        verdict.checkpoints = len(genuine)

    def findings_at(self, row: Row) -> Iterator[Finding]:
        yield from self._chain.follow(row)
        if self._seen_at is not None and row.recorded_at < self._seen_at - _LATEST:
            yield Finding(
                "backdated",
                f"it says {row.recorded_at.isoformat()}, and was not there an hour later",
                row.position,
                row.id,
            )
        if row.type == "audit.erased":
            self._erasures[row.id] = _entries_erased(row)
        while self._ahead and self._ahead[-1].position <= row.position:
            yield from self._compare(self._ahead.pop())

    def findings_at_end(self) -> Iterator[Finding]:
        for statement in reversed(self._ahead):
            if self._expected.is_superseded(statement):
                self._note(statement)
                continue
            yield Finding(
                "cut",
                f"entries up to position {statement.position} were there at"
                f" {statement.sealed_at}; the trail ends at {self._chain.head}",
                statement.position,
            )
        for entry, count in self._chain.erased.items():
            self._verdict.erased += count
            if self._erasures.get(entry) != count:
                words = f"{count} entries name an erasure that did not take place like this"
                yield Finding("erased", words, None, entry)
        self._verdict.head = self._chain.hash.hex()

    def _genuine(self, verifier: Verifier) -> Iterator[Checkpoint]:
        """Without any key there is nothing to tell the genuine ones by."""
        if self._expected.checkpoints and not verifier:
            self._verdict.notes.append("no public key was given: its checkpoints are not examined")
            return
        for each in self._expected.checkpoints:
            statement = each.statement
            if self._expected.concerns(statement) and verifier.is_genuine(each):
                yield each
                continue
            known = verifier.knows(each)
            why = "not what was signed" if known else f"signed by an unknown key, {each.key}"
            words = f"a checkpoint of {statement.sealed_at} is {why}"
            self._verdict.add(Finding("forged", words, statement.position))

    def _compare(self, statement: Statement) -> Iterator[Finding]:
        if statement.hash == self._chain.hash.hex():
            self._verdict.vouched = statement.position
            if statement.database == self._expected.database:
                self._seen_at = _time(statement)
        elif self._expected.is_superseded(statement):
            self._note(statement)
        else:
            yield Finding(
                "rewritten",
                f"at {statement.sealed_at} the chain was another one up to here",
                statement.position,
            )

    def _note(self, statement: Statement) -> None:
        self._verdict.notes.append(
            f"the checkpoint of {statement.sealed_at} at position {statement.position} is of"
            f" {statement.database}, which was swapped for another database since"
        )


def _entries_erased(row: Row) -> int | None:
    """As the entry says, which a tenant's role may have made up."""
    told = json.loads(row.details)
    count = told.get("entries") if isinstance(told, dict) else None
    return count if isinstance(count, int) else None


def _time(statement: Statement) -> datetime:
    return datetime.fromisoformat(statement.sealed_at)
