"""What operators do about dead letters, for the platform's audit trail."""

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

from app.core.events import Event


@dataclass(frozen=True, kw_only=True)
class _OfLetter(Event):
    target: ClassVar[str] = "letter_id"

    letter_id: UUID
    tenant_id: UUID | None
    consumer: str | None
    event_id: UUID | None


@dataclass(frozen=True, kw_only=True)
class LetterReplayed(_OfLetter):
    type: ClassVar[str] = "dead_letter.replayed"


@dataclass(frozen=True, kw_only=True)
class LetterDropped(_OfLetter):
    type: ClassVar[str] = "dead_letter.dropped"
