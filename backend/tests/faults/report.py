"""What was done and what came of it, for people and for programs."""

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

Figure = int | float | str


@dataclass
class Outcome:
    """Of one fault; ``failure`` is why it does not count as survived."""

    fault: str
    seconds: float
    figures: dict[str, Figure]
    failure: str = ""


@dataclass
class Report:
    """The outcomes of a run so far."""

    form: str
    seed: int
    folder: Path
    begun: float = field(default_factory=time.time)
    outcomes: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Written at once, as faults.json and faults.md, for a run may be broken off."""
        self.outcomes.append(outcome)
        self.folder.mkdir(parents=True, exist_ok=True)
        told: dict[str, object] = {"form": self.form, "seed": self.seed, "begun": self.begun}
        told["outcomes"] = [asdict(each) for each in self.outcomes]
        (self.folder / "faults.json").write_text(json.dumps(told, indent=2) + "\n")
        (self.folder / "faults.md").write_text(self.as_markdown())

    def as_markdown(self) -> str:
        lines = [f"Seed {self.seed}, {self.form} form.", "", "| fault | s | outcome | figures |"]
        lines.append("|---|---|---|---|")
        for each in self.outcomes:
            said = each.failure.partition("\n")[0] or "survived"
            figures = ", ".join(f"{name} {_plain(figure)}" for name, figure in each.figures.items())
            lines.append(f"| {each.fault} | {each.seconds:.0f} | {said} | {figures} |")
        return "\n".join(lines) + "\n"


def _plain(figure: Figure) -> str:
    return f"{figure:.1f}" if isinstance(figure, float) else f"{figure}"
