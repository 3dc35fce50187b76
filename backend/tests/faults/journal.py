"""What clients were told: every acknowledged write, every status, and what got no answer."""

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from tests.cast import House, Person

# Only a server that hangs keeps a client waiting for this long.
HANGS_AFTER: Final = 60.0
_TOLD: Final = 20


@dataclass(frozen=True)
class Tenant:
    """A house, who writes into it, and what is nowhere to be found but in it."""

    house: House
    person: Person
    canary: str


@dataclass
class Journal:
    """Of any number of writers. What was not acknowledged may be there or not."""

    # By tenant: documents that were made, and for each the tags that it was given.
    made: dict[Tenant, list[str]] = field(default_factory=dict)
    tagged: dict[Tenant, list[tuple[str, str]]] = field(default_factory=dict)
    renamed: dict[Tenant, list[tuple[str, str]]] = field(default_factory=dict)
    binned: dict[Tenant, list[str]] = field(default_factory=dict)
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    unanswered: list[str] = field(default_factory=list)
    suspicious: list[str] = field(default_factory=list)
    slowest: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answered(self, operation: str, status: int, seconds: float, text: str) -> None:
        with self._lock:
            self.statuses[operation, status] += 1
            self.slowest = max(self.slowest, seconds)
            if status >= 500 and len(self.suspicious) < _TOLD and _shows_too_much(text):
                self.suspicious.append(f"{operation}: {text[:300]}")

    def broke_off(self, operation: str, reason: Exception, seconds: float) -> None:
        with self._lock:
            self.slowest = max(self.slowest, seconds)
            self.unanswered.append(f"{operation}: {type(reason).__name__}: {reason}"[:300])

    @property
    def writes(self) -> int:
        """Acknowledged ones; each document of a request for many is one."""
        kinds = (self.made, self.tagged, self.renamed, self.binned)
        return sum(len(each) for kind in kinds for each in kind.values())

    @property
    def requests(self) -> int:
        return self.statuses.total() + len(self.unanswered)

    def of_status(self, *statuses: int) -> int:
        return sum(count for (_, status), count in self.statuses.items() if status in statuses)

    def refused(self) -> dict[int, int]:
        """How often each status other than success was answered."""
        found: Counter[int] = Counter()
        for (_, status), count in self.statuses.items():
            if status >= 400:
                found[status] += count
        return dict(sorted(found.items()))

    def undocumented(self, documented: dict[str, set[int]]) -> list[str]:
        """Answers with a status that the contract does not name for the operation."""
        return [
            f"{operation} answered {status} ({count} times)"
            for (operation, status), count in sorted(self.statuses.items())
            if status not in documented[operation]
        ]


def _shows_too_much(text: str) -> bool:
    return any(
        word in text for word in ("Traceback", "psycopg", "sqlalchemy", 'File "/', "postgresql://")
    )
