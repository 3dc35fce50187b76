"""The import contracts of pyproject.toml are kept, and catch what they are there to catch."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import BACKEND

_CHECK = (
    "import sys; from importlinter.cli import lint_imports_command;"
    "sys.exit(lint_imports_command(['--no-cache']))"
)


def _lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _CHECK],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_contracts_are_kept() -> None:
    done = _lint(BACKEND)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("core/clock.py", "from app.domains.tenants import errors", "1. Storeys"),
        ("tenancy/names.py", "from app.integrations import storage", "1. Storeys"),
        (
            "domains/documents/queries/listing.py",
            "from app.domains.documents import service",
            "2. Inside",
        ),
        ("domains/documents/utils.py", "", "2. Inside"),
        ("domains/identity/errors.py", "from app.domains.tenants import errors", "3. The map"),
        ("domains/reports/__init__.py", "", "3. The map"),
        (
            "domains/documents/service/bulk.py",
            "from app.domains.tenants import models",
            "4. A domain's",
        ),
        ("domains/documents/service/bulk.py", "import flask", "5. Business code"),
    ],
)
def test_a_breach_is_caught(file: str, line: str, contract: str, tmp_path: Path) -> None:
    shutil.copytree(BACKEND / "app", tmp_path / "app")
    shutil.copy(BACKEND / "pyproject.toml", tmp_path)
    path = tmp_path / "app" / file
    path.parent.mkdir(exist_ok=True)
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    path.write_text(f"{before}\n{line}\n", encoding="utf-8")
    done = _lint(tmp_path)
    assert done.returncode == 1, done.stdout
    assert any(
        text.startswith(contract) and text.endswith("BROKEN") for text in done.stdout.splitlines()
    ), done.stdout
