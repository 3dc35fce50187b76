"""Our end of a second process of an installation."""

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.paths import BACKEND
from tests.tenancy.laboratory import PATIENCE_SECONDS, Laboratory


class Understudy:
    """Gives orders to `tests.tenancy.understudy` and waits for each answer, not for ever."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def do(self, what: str, **more: Any) -> dict[str, Any]:
        orders, answers = self._process.stdin, self._process.stdout
        assert orders is not None
        assert answers is not None
        orders.write(json.dumps({"do": what, **more}) + "\n")
        orders.flush()
        ready, _, _ = select.select([answers], [], [], PATIENCE_SECONDS)
        line = answers.readline() if ready else ""
        assert line, f"no answer to {what}"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def dies(self, verb: str, *, at: int, **arguments: object) -> bool:
        """Whether the verb had as many exchanges with a server, and was killed at that one."""
        died: bool = self._die(verb, at, arguments)["died"]
        return died

    def exchanges_of(self, verb: str, **arguments: object) -> int:
        """Does the verb, and tells how many exchanges it had."""
        exchanges: int = self._die(verb, 1_000_000, arguments)["exchanges"]
        return exchanges

    def _die(self, verb: str, at: int, arguments: dict[str, object]) -> dict[str, Any]:
        given = {name: str(value) for name, value in arguments.items()}
        answer = self.do("die", verb=verb, at=at, arguments=given)
        assert "error" not in answer, answer
        return answer


@contextmanager
def understudy(lab: Laboratory) -> Iterator[Understudy]:
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "tests.tenancy.understudy"],
        cwd=BACKEND,
        env=os.environ | lab.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Understudy(process)
        finally:
            process.kill()
