"""The pages that the code describes itself, and the report of the effective settings."""

import json
import subprocess
import sys
from typing import Any

import pytest

from app.core import reference
from app.core.errors import AppError
from app.settings import Settings
from tests.core.live import environment_of
from tests.paths import PROJECT


def run(script: str, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(PROJECT / "scripts" / script), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


ERRORS: list[type[AppError]] = [
    cls
    for cls in reference._family(AppError)
    if "code" in vars(cls) and cls.__module__.startswith("app.")
]


@pytest.mark.parametrize("page", ["settings", "errors"])
def test_a_page_is_what_the_code_says(page: str) -> None:
    written = (PROJECT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    generated = {"settings": reference.settings_page, "errors": reference.errors_page}[page]()
    assert generated == written, "run scripts/generate_docs.py"


@pytest.mark.parametrize("cls", ERRORS)
def test_every_error_says_what_it_means(cls: type[AppError]) -> None:
    """A class with a code and no docstring of its own would have an empty row."""
    assert reference._paragraphs(cls)[0], cls.__name__


def test_a_code_means_one_thing() -> None:
    """Two domains may refuse in the same words; but one code has one status."""
    assert len({(cls.code, cls.status) for cls in ERRORS}) == len({cls.code for cls in ERRORS})
    # What inherits a code may not change what it is told with.
    for cls in reference._family(AppError):
        owner: Any = next(base for base in cls.__mro__ if "code" in vars(base))
        assert cls.status == owner.status, cls.__name__


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_says_what_it_is(name: str) -> None:
    assert (Settings.model_fields[name].description or "").endswith("."), name


def test_the_pages_are_what_the_script_writes() -> None:
    assert run("generate_docs.py", "--check").returncode == 0


def test_the_effective_settings(settings: Settings) -> None:
    environment = environment_of(settings) | {"CORS_ORIGINS": ""}
    told = run("show_settings.py", "--json", **environment)
    assert told.returncode == 0, told.stderr
    rows = {row["name"]: row for row in json.loads(told.stdout)}
    assert rows.keys() == {name.upper() for name in Settings.model_fields}
    assert rows["ENVIRONMENT"] == {
        "name": "ENVIRONMENT", "value": "testing", "source": "environment",
    }  # fmt: skip
    assert rows["CORS_ORIGINS"] == {"name": "CORS_ORIGINS", "value": [], "source": "default"}
    assert rows["MAIN_POOL_SIZE"]["value"] == settings.main_pool_size
    text = run("show_settings.py", **environment).stdout
    for name in ("SECRET_KEY", "SECRETS_KEYS", "DATABASE_URL", "REDIS_URL", "METRICS_TOKEN"):
        assert environment[name] not in text + told.stdout
        assert "**********" in json.dumps(rows[name]["value"])


def test_settings_that_do_not_do() -> None:
    told = run("show_settings.py")
    assert told.returncode == 1
    assert "  SECRET_KEY: Field required" in told.stderr
