"""Children die with us, however we die."""

import subprocess
import sys
from pathlib import Path

import pytest

from embedded.errors import StoppedEarly
from embedded.process import ChildProcess, Command
from tests.embedded.processes import living, wait_for

# Starts a child that starts a grandchild, prints their ids, and waits to be killed.
PARENT = """
import sys, time
from pathlib import Path
from embedded.process import ChildProcess, Command
log, mode = Path(sys.argv[1]), sys.argv[2]
program = ["sh", "-c", "sleep 60 & echo $$ $!; wait"]
child = ChildProcess(Command(name="child", program=program, log=log, launch_mode=mode))
child.wait_until(lambda: child.words().count("\\n") == 1, seconds=10)
print(child.words(), end="", flush=True)
time.sleep(60)
"""


def parent(log: Path, mode: str) -> tuple[subprocess.Popen[str], list[int]]:
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(log), mode],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout
    with process.stdout:
        return process, [int(pid) for pid in process.stdout.readline().split()]


@pytest.mark.parametrize(
    ("mode", "survivors"),
    [
        pytest.param(
            "kernel",
            1,
            marks=pytest.mark.skipif(sys.platform != "linux", reason="Linux's own call"),
            id="the kernel tells the child alone",
        ),
        pytest.param("observer", 0, id="an observer ends the whole group"),
    ],
)
def test_a_killed_parent_takes_its_child_along(tmp_path: Path, mode: str, survivors: int) -> None:
    process, (child, grandchild) = parent(tmp_path / "log", mode)
    assert living([child, grandchild]) == {child, grandchild}
    process.kill()
    process.wait(10)
    wait_for(lambda: not living([child]))
    wait_for(lambda: len(living([grandchild])) == survivors)
    if survivors:
        subprocess.run(["kill", str(grandchild)], check=True)


def test_stopping_takes_the_whole_group_along(tmp_path: Path) -> None:
    program = ["sh", "-c", "trap '' TERM; sleep 60 & echo $$ $!; wait; wait"]
    command = Command(name="deaf", program=program, log=tmp_path / "log", grace=0.2)
    with ChildProcess(command) as child:
        child.wait_until(lambda: child.words().count("\n") == 1, seconds=10)
        pids = [int(pid) for pid in child.words().split()]
        assert living(pids) == set(pids)
    assert not living(pids)


def test_its_last_words_are_told(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("from an earlier life\n")
    command = Command(name="Mayfly", program=["sh", "-c", "echo no room; exit 3"], log=log)
    with ChildProcess(command) as child, pytest.raises(StoppedEarly) as caught:
        child.wait_until(lambda: False, seconds=10)
    assert "Mayfly ended (exit code 3)" in str(caught.value)
    assert "no room" in str(caught.value)
    assert "earlier life" not in str(caught.value)


def test_a_program_that_is_missing_is_named(tmp_path: Path) -> None:
    command = Command(name="Ghost", program=["/nowhere/ghost"], log=tmp_path / "log")
    missing = pytest.raises(StoppedEarly, match="/nowhere/ghost: No such file")
    with ChildProcess(command) as child, missing:
        child.wait_until(lambda: False, seconds=10)
