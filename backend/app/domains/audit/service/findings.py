"""What a verification finds, and what it says of a trail."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal
from uuid import UUID

# changed: a row; removed: rows within the chain; cut: rows at its end; rewritten: the chain is
# another than the one a checkpoint saw; backdated: a row that came later than it says; erased: a
# row whose personal part is gone and nobody says why; forged: a checkpoint; not examined: nobody
# knows.
Kind = Literal[
    "changed", "removed", "cut", "rewritten", "backdated", "erased", "forged", "not examined"
]
MOST: Final = 100


@dataclass(frozen=True, slots=True)
class Finding:
    kind: Kind
    words: str
    position: int | None = None
    entry: UUID | None = None


@dataclass(slots=True, kw_only=True)
class Verdict:
    """On one trail. Up to ``vouched`` a genuine checkpoint covers it; ``notes`` are no fault.

    Of very many findings the first are kept, and all counted.
    """

    trail: str
    entries: int = 0
    head: str = ""
    vouched: int = 0
    checkpoints: int = 0
    unsealed: int = 0
    erased: int = 0
    count: int = 0
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, *findings: Finding) -> None:
        self.count += len(findings)
        self.findings += findings[: max(0, MOST - len(self.findings))]

    @property
    def holds(self) -> bool:
        """Nothing is wrong with what is there."""
        return self.count == 0

    @property
    def proven(self) -> bool:
        """And a checkpoint vouches for its end."""
        return self.holds and (self.vouched > 0 or self.entries == 0)


def unproven(verdicts: Sequence[Verdict]) -> list[Verdict]:
    return [each for each in verdicts if not each.proven]
