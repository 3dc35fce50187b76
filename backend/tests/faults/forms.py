"""How much of it: the whole, or what a change has to pass."""

import os
import random
import secrets
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True)
class Form:
    """Counts and seconds. ``patience`` multiplies deadlines where machines do other work, too."""

    name: str
    database_kills: int
    writes_between_kills: int
    kills: int
    away_seconds: float
    kafka_away_seconds: float
    deploys: int
    upload_kills: int
    patience: float


WHOLE: Final = Form(
    name="whole",
    database_kills=10,
    writes_between_kills=5_000,
    kills=20,
    away_seconds=30,
    kafka_away_seconds=60,
    deploys=20,
    upload_kills=20,
    patience=1,
)
SHORT: Final = Form(
    name="short",
    database_kills=2,
    writes_between_kills=100,
    kills=5,
    away_seconds=3,
    kafka_away_seconds=3,
    deploys=1,
    upload_kills=2,
    patience=6,
)


def chosen() -> Form:
    return WHOLE if os.environ.get("FAULTS") == "whole" else SHORT


@dataclass(frozen=True)
class Seed:
    """Given by SEED, or made up and told."""

    number: int = field(
        default_factory=lambda: int(os.environ.get("SEED") or secrets.randbelow(1_000_000))
    )

    def for_(self, name: str) -> random.Random:
        """What a fault does by chance, whichever others run before it."""
        return random.Random(f"{self.number} {name}")
