"""Every script looks the same: --help with its exit codes, --json where it reports."""

import subprocess

import pytest

from tests.paths import PROJECT
from tests.scripts import run_script

SCRIPTS = sorted(
    path.name for path in (PROJECT / "scripts").iterdir() if path.suffix in {".py", ".sh"}
)
# They make something, and what that is can be seen: there is nothing to report.
WITHOUT_REPORT = {"generate_docs.py", "generate_swagger.py", "reset_db.sh", "run.py", "tour.py"}
# Behind a verb of its own.
REPORTS = {
    "dead_letters.py": "list",
    "jobs.py": "list",
    "servers.py": "list",
    "services.py": "status",
}


def run(name: str, *arguments: str) -> tuple[int, str, str]:
    """Its exit code, and what it said."""
    if not name.endswith(".sh"):
        return run_script(name, *arguments)
    ended = subprocess.run(
        ["bash", str(PROJECT / "scripts" / name), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return ended.returncode, ended.stdout, ended.stderr


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_tells_how_it_is_used(name: str) -> None:
    """It needs neither settings nor servers to tell."""
    code, told, complaint = run(name, "--help")
    assert (code, complaint) == (0, "")
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
