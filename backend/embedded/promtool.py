"""Prometheus' own judge of alert rules, built once from its Go module: ``make alerts``."""

import subprocess
import sys
from pathlib import Path
from typing import Final

from embedded import golang
from embedded.errors import EmbeddedError
from embedded.real import cache_folder

_VERSION: Final = "v0.316.0"
_PACKAGE: Final = f"github.com/prometheus/prometheus/cmd/promtool@{_VERSION}"
_RULES: Final = Path(__file__).resolve().parents[2] / "deploy" / "prometheus"


def program() -> Path:
    """Where it is, or would be."""
    return cache_folder() / "programs" / f"promtool-{_VERSION}"


def judge(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """What it says of our rules."""
    return subprocess.run(
        [str(program()), *arguments], cwd=_RULES, capture_output=True, text=True, check=False
    )


def main() -> int:
    """The exit code: 0 the rules are right; 1 they are not, or it cannot be built."""
    try:
        if not program().is_file():
            golang.build(_PACKAGE, program())
    except EmbeddedError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    for arguments in (("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml")):
        done = judge(*arguments)
        sys.stdout.write(done.stdout + done.stderr)
        if done.returncode:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
