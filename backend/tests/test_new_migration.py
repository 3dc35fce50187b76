"""scripts/new_migration.py: the next number, one head, and the lint."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from app.core.db import MIGRATIONS
from app.tenancy.migrations.tree import Tree
from tests.paths import PROJECT

SCRIPT = PROJECT / "scripts" / "new_migration.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("new_migration", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False
    )


def test_the_next_number_follows_the_head(script: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "tenant"
    shutil.copytree(MIGRATIONS / "tenant", folder)
    head = Tree(folder).head
    path = script.write(folder, 'What "it" is: 100% ours')
    made = Tree(folder).revisions[-1]
    assert (made.down, made.path) == (head, path)
    assert int(made.id) == int(head) + 1
    assert path.name == f"{made.id}_what_it_is_100_ours.py"
    assert made.title == "What 'it' is: 100% ours."


def test_a_tree_with_two_heads_is_joined_first(script: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "tenant"
    shutil.copytree(MIGRATIONS / "tenant", folder)
    first = script.write(folder, "one")
    other = first.read_text().replace(f'"{first.name[:4]}"', '"9999"')
    (folder / "versions" / "9999_other.py").write_text(other)
    with pytest.raises(ValueError, match="join them first"):
        script.write(folder, "two")


def test_from_the_command_line() -> None:
    assert run("--help").returncode == 0
    assert run("--check", "--json").stdout == '{"faults": []}\n'
    assert run("tenant").returncode == run("tenant", " . ").returncode == 2
    assert run("elsewhere", "message").returncode == 2
