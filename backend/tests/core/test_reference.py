"""The pages that the code describes itself, and the report of the effective settings."""

import json
import subprocess
import sys

import pytest

from app.core.reference import settings_page
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


def test_the_page_of_settings() -> None:
    written = (PROJECT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert settings_page() == written, "run scripts/generate_docs.py"


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
