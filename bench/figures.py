"""What a benchmark hands over: figures, some with a goal, and how people read them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median, quantiles
from typing import Any, Final, Literal

_FEWEST_FOR_QUARTILES: Final = 2


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A bound that a figure shall keep to."""

    bound: float
    side: Literal["at most", "at least"]

    def met_by(self, value: float) -> bool:
        return value <= self.bound if self.side == "at most" else value >= self.bound

    def __str__(self) -> str:
        sign = "≤" if self.side == "at most" else "≥"
        return f"{sign} {self.bound:g}"


def at_most(bound: float) -> Goal:
    return Goal(bound=bound, side="at most")


def at_least(bound: float) -> Goal:
    return Goal(bound=bound, side="at least")


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured value. Without a goal it is there to compare with."""

    name: str
    value: float
    unit: str = ""
    goal: Goal | None = None
    note: str = ""

    @property
    def missed(self) -> bool:
        return self.goal is not None and not self.goal.met_by(self.value)

    def as_json(self) -> dict[str, Any]:
        verdict = None if self.goal is None else not self.missed
        return asdict(self) | {"goal": self.goal and str(self.goal), "ok": verdict}


def middle(values: Sequence[float]) -> str:
    """The quartiles, as a note beside a median."""
    if len(values) < _FEWEST_FOR_QUARTILES:
        return "one round"
    low, _, high = quantiles(values, n=4)
    return f"quartiles {low:.3g} … {high:.3g}, {len(values)} rounds"


def ratio(name: str, ratios: Sequence[float], *, goal: Goal | None = None) -> Figure:
    """The median of the rounds' ratios: what disturbs the machine disturbs both halves of each."""
    return Figure(name=name, value=median(ratios), unit="x", goal=goal, note=middle(ratios))


def table(title: str, figures: Sequence[Figure]) -> str:
    rows = [("figure", "measured", "goal", "", "")]
    rows += [
        (
            figure.name,
            f"{figure.value:.3g} {figure.unit}".rstrip(),
            "" if figure.goal is None else str(figure.goal),
            "" if figure.goal is None else "MISSED" if figure.missed else "ok",
            figure.note,
        )
        for figure in figures
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([f"\n{title}", *(f"  {line}" for line in lines)])
