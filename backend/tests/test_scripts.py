"""Every script looks the same: --help with its exit codes, --json where it reports."""

import io
import runpy
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout

import pytest

from tests.paths import PROJECT

SCRIPTS = sorted(
    path.name for path in (PROJECT / "scripts").iterdir() if path.suffix in {".py", ".sh"}
)
# They make something, and what that is can be seen: there is nothing to report.
WITHOUT_REPORT = {"generate_docs.py", "generate_swagger.py", "reset_db.sh", "run.py", "tour.py"}
# Behind a verb of its own.
REPORTS = {"dead_letters.py": "list", "jobs.py": "list", "services.py": "status"}


def run(name: str, *arguments: str) -> tuple[int | str | None, str, str]:
    """Its exit code, and what it said; in this process, which has all of its modules already."""
    path = str(PROJECT / "scripts" / name)
    if name.endswith(".sh"):
        ended = subprocess.run(
            ["bash", path, *arguments], capture_output=True, text=True, check=False, timeout=60
        )
        return ended.returncode, ended.stdout, ended.stderr
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", [path, *arguments])
        patch.setattr(sys, "path", sys.path.copy())
        with pytest.raises(SystemExit) as ended_by:
            runpy.run_path(path, run_name="__main__")
    return ended_by.value.code, out.getvalue(), err.getvalue()


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_tells_how_it_is_used(name: str) -> None:
    """It needs neither settings nor servers to tell."""
    code, told, complaint = run(name, "--help")
    assert (code or 0, complaint) == (0, "")
    assert len(told.splitlines()) > 5
    assert "exit codes:" in told.lower()
    if name in REPORTS:
        _, told, _ = run(name, REPORTS[name], "--help")
    assert ("--json" in told) is (name not in WITHOUT_REPORT)
    code, told, complaint = run(name, "--no-such-option")
    assert (code, told) == (2, "")
    assert complaint


def test_all_of_them_are_looked_at() -> None:
    assert set(REPORTS) | WITHOUT_REPORT < set(SCRIPTS)
