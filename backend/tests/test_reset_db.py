"""scripts/reset_db.sh: a development installation begins anew, and no other is touched."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.settings import Environment
from tests.cast import new_house, new_person
from tests.paths import PROJECT
from tests.tenancy.laboratory import Laboratory, laboratory

SCRIPT = PROJECT / "scripts" / "reset_db.sh"


@pytest.fixture(scope="module")
def development(
    server_urls: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Laboratory]:
    folder = tmp_path_factory.mktemp("files")
    one = {"api_workers": 1, "process_count": 1, "main_pool_size": 4}
    changes = {"environment": Environment.DEVELOPMENT, **one}
    with laboratory(server_urls, folder, **changes) as own:
        yield own


def reset(own: Laboratory, *arguments: str, **changes: str) -> "subprocess.CompletedProcess[str]":
    """With the settings in the environment."""
    return run(["--env-file", "/nowhere", *arguments], own.environment() | changes)


def run(arguments: list[str], environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    told = {"PATH": os.environ["PATH"], "PYTHON": sys.executable}
    return subprocess.run(
        [str(SCRIPT), *arguments],
        env=told | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def databases(own: Laboratory) -> set[str]:
    with own.as_superuser() as superuser:
        found = superuser.execute(
            "SELECT datname FROM pg_database WHERE pg_get_userbyid(datdba) = %s",
            (own.installation.schema_owner,),
        ).fetchall()
    return {name for (name,) in found if name.startswith("tenant_")}


@pytest.mark.parametrize(
    ("arguments", "changes", "code"),
    [
        (["--yes"], {"ENVIRONMENT": "testing"}, 1),
        ([], {}, 1),
        (["--yes", "--force"], {}, 2),
        (["--yes"], {"SECRET_KEY": "short"}, 1),
    ],
)
def test_it_refuses(
    development: Laboratory, arguments: list[str], changes: dict[str, str], code: int
) -> None:
    with development.app.app_context():
        new_house("kept", new_person(development.app, "Alice"))
    before = databases(development)
    done = reset(development, *arguments, **changes)
    assert done.returncode == code, done.stderr
    assert done.stderr
    assert databases(development) == before


def test_production_is_refused_with_settings_that_would_do(development: Laboratory) -> None:
    changes = {
        "ENVIRONMENT": "production",
        "PUBLIC_URL": "https://api.example.com",
        "MAIL_URL": "smtps://mail:465",
        "MAIL_FROM": "shop@example.com",
    }
    done = reset(development, "--yes", **changes)
    assert done.returncode == 1
    assert "ENVIRONMENT is production: nothing was changed." in done.stderr


def test_everything_begins_anew(development: Laboratory, tmp_path: Path) -> None:
    with development.app.app_context():
        new_house("gone", new_person(development.app, "Alice"))
    before = databases(development)
    assert before
    told = development.environment() | {"DEMO_PASSWORD": "correct horse battery staple"}
    file = tmp_path / "tenantry.env"
    file.write_text("# As make run writes it.\n\n" + "".join(f"{n}={v}\n" for n, v in told.items()))
    for _ in range(2):
        done = run(["--yes", "--env-file", str(file)], {})
        assert done.returncode == 0, done.stdout + done.stderr
    after = databases(development)
    assert not after & before
    assert len(after) == 2, "acme and globex"
    body = {"email": "alice@acme.example", "password": "correct horse battery staple"}
    answer = development.app.test_client().post("/api/auth/login", json=body)
    assert answer.status_code == 200


def test_it_explains_itself() -> None:
    done = subprocess.run([SCRIPT, "--help"], capture_output=True, text=True, check=True)
    assert "--yes" in done.stdout
