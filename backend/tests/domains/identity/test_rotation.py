"""The key that signs is changed, and no token that is good is refused meanwhile."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, generate_private_key
from flask import Flask
from sqlalchemy import update

from app.core import ids, tokens
from app.core.db import main_session
from app.core.tasks import DEFINITIONS
from app.core.tokens import SigningKey
from app.domains.identity.models import SigningKeyRow
from app.domains.identity.service import rotation
from app.domains.identity.service.keys import DatabaseKeyRing
from app.domains.identity.service.rotation import Pace, Step
from app.settings import Settings
from app.tenancy.names import Installation
from tests.cast import initialise
from tests.conftest import drop_installation, make_settings
from tests.core.apps import another_app
from tests.core.live import environment_of
from tests.domains.identity.trail import recorded
from tests.paths import PROJECT

NOW = timedelta()
NEVER = timedelta(days=36_500)


@pytest.fixture(scope="module")
def own_settings(
    server_urls: dict[str, str], tmp_path_factory: pytest.TempPathFactory, worker_id: str
) -> Iterator[Settings]:
    """An installation whose keys no other test looks at."""
    installation = Installation(f"k{ids.new_id().hex[-8:]}")
    folder = tmp_path_factory.mktemp("keys")
    yield make_settings(server_urls, installation, folder, worker_id)
    drop_installation(server_urls, installation)


@pytest.fixture(scope="module")
def own_app(own_settings: Settings) -> Iterator[Flask]:
    with another_app(own_settings) as app:
        initialise(app)
        yield app


@pytest.fixture
def keys(own_app: Flask) -> Iterator[Flask]:
    """An application context, and one key that signs."""
    with own_app.app_context():
        yield own_app
        for _ in range(3):
            age(timedelta(days=1))
            step(own_app, NEVER)


@pytest.fixture
def pace(own_settings: Settings) -> Pace:
    return Pace.of(own_settings)


def step(app: Flask, oldest: timedelta = NOW) -> list[Step]:
    with main_session() as session:
        return rotation.advance(
            session, app.extensions["secrets"], Pace.of(app.extensions["settings"]), oldest=oldest
        )


def actions(app: Flask, oldest: timedelta = NOW) -> list[str]:
    return [each.action for each in step(app, oldest)]


def states() -> list[str]:
    with main_session() as session:
        return [key.state for key in rotation.list_keys(session)]


def age(by: timedelta) -> None:
    """As if every key had come into its state that much earlier."""
    with main_session() as session:
        session.execute(
            update(SigningKeyRow).values(
                created_at=SigningKeyRow.created_at - by, updated_at=SigningKeyRow.updated_at - by
            )
        )


ALMOST = timedelta(seconds=-30)


def test_a_key_goes_through_its_states_no_faster_than_it_may(keys: Flask, pace: Pace) -> None:
    assert states() == ["active"]
    assert actions(keys) == ["make"]
    assert states() == ["active", "next"]
    assert actions(keys) == []
    age(pace.published + ALMOST)
    assert actions(keys) == []
    age(-ALMOST)
    assert actions(keys, NEVER) == ["activate"]
    assert states() == ["retiring", "active"]
    assert actions(keys, NEVER) == []
    age(pace.retiring + ALMOST)
    assert actions(keys, NEVER) == []
    age(-ALMOST)
    assert actions(keys, NEVER) == ["remove"]
    assert states() == ["active"]


def test_a_rotation_begins_when_the_key_is_old(keys: Flask) -> None:
    assert actions(keys, timedelta(days=90)) == []
    age(timedelta(days=90))
    assert actions(keys, timedelta(days=90)) == ["make"]
    assert actions(keys, timedelta(days=90)) == []


def test_the_job_takes_the_steps_that_are_due(keys: Flask, pace: Pace) -> None:
    def run() -> list[str]:
        with main_session() as session:
            DEFINITIONS["identity.rotate_keys"].run(session)
        return states()

    assert run() == ["active"]
    age(timedelta(days=keys.extensions["settings"].signing_key_days))
    assert run() == ["active", "next"]
    age(pace.published)
    assert run() == ["retiring", "active"]
    age(pace.retiring)
    assert run() == ["active"]


def test_the_times_are_longer_than_what_they_wait_for(own_settings: Settings) -> None:
    slow = own_settings.model_copy(
        update={
            "signing_key_refresh_seconds": 600,
            "key_set_max_age_seconds": 7200,
            "access_token_seconds": 3600,
        }
    )
    pace = Pace.of(slow)
    assert pace.published > timedelta(seconds=600 + 7200)
    assert pace.retiring > timedelta(seconds=600 + 3600)


def test_ten_at_once_take_each_step_once(keys: Flask, pace: Pace) -> None:
    def all_at_once() -> list[str]:
        start = Barrier(10)

        def one(_: int) -> list[str]:
            start.wait(10)
            with keys.app_context():
                return actions(keys)

        with ThreadPoolExecutor(10) as pool:
            return [action for taken in pool.map(one, range(10), timeout=60) for action in taken]

    assert all_at_once() == ["make"]
    age(pace.published)
    assert sorted(all_at_once()) == ["activate", "make"]
    assert states() == ["retiring", "active", "next"]


def test_every_state_is_published_and_one_signs(keys: Flask, pace: Pace) -> None:
    """The tokens of a key are good from before it signs until after the last has expired."""
    ring = DatabaseKeyRing(keys.extensions["secrets"], keys.extensions["settings"])
    first = ring.signing_key().kid
    step(keys)
    age(pace.published)
    new = DatabaseKeyRing(keys.extensions["secrets"], keys.extensions["settings"])
    assert new.signing_key().kid == first
    assert len(new.public_keys()) == 2
    assert "activate" in actions(keys)
    newer = DatabaseKeyRing(keys.extensions["secrets"], keys.extensions["settings"])
    assert newer.signing_key().kid != first
    assert newer.signing_key().kid in new.public_keys(), "known before it signs"
    assert first in newer.public_keys(), "known after it signs"


def test_each_step_is_in_the_trail(keys: Flask, pace: Pace) -> None:
    (made,) = step(keys)
    age(pace.published)
    step(keys)
    told = [entry.details["action"] for entry in recorded(made.kid)]
    assert told == ["make", "activate"]


def test_key_sets_may_be_kept_for_as_long_as_is_waited(own_app: Flask) -> None:
    answer = own_app.test_client().get("/.well-known/jwks.json")
    assert answer.headers["Cache-Control"] == "public, max-age=300"


class Restless:
    """A key ring that goes over to another key whenever it is asked."""

    def __init__(self) -> None:
        pair = [generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2)]
        self._keys = [SigningKey(f"key{number}", key) for number, key in enumerate(pair)]

    def signing_key(self) -> SigningKey:
        self._keys.reverse()
        return self._keys[0]

    def public_key(self, kid: str) -> RSAPublicKey | None:
        return self.public_keys().get(kid)

    def public_keys(self) -> dict[str, RSAPublicKey]:
        return {key.kid: key.private_key.public_key() for key in self._keys}


def test_a_token_names_the_key_that_signed_it(settings: Settings) -> None:
    app = Flask("tokens")
    tokens.init_app(app, settings, Restless())
    with app.app_context():
        for _ in range(4):
            user, session = ids.new_id(), ids.new_id()
            token = tokens.issue(user_id=user, session_id=session)
            claims = tokens.verify(f"Bearer {token}")
            assert (claims.user_id, claims.session_id) == (user, session)


# The script.


@pytest.fixture
def script(own_settings: Settings, keys: Flask, tmp_path: Path) -> Any:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(PROJECT / "scripts" / "rotate_keys.py"), *arguments],
            env=environment_of(own_settings) | {"LANG": os.environ.get("LANG", "C")},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return run


def report(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_the_script_takes_the_steps_that_are_due(script: Any, pace: Pace) -> None:
    told = report(script("--json", "--dry-run", "--older-than-days", "0"))
    assert ([each["action"] for each in told["ahead"]], told["taken"]) == (["make"], [])
    assert states() == ["active"], "a dry run changes nothing"
    told = report(script("--json", "--older-than-days", "0"))
    assert [each["action"] for each in told["taken"]] == ["make"]
    assert [key["state"] for key in told["keys"]] == ["active", "next"]
    told = report(script("--json"))
    assert told["taken"] == []
    assert [each["action"] for each in told["ahead"]] == ["activate"]
    age(pace.published)
    assert [each["action"] for each in report(script("--json"))["taken"]] == ["activate"]
    told = report(script("--json", "--status"))
    assert [key["state"] for key in told["keys"]] == ["retiring", "active"]
    assert [each["action"] for each in told["ahead"]] == ["remove", "make"]


def test_a_leaked_key_is_replaced_at_once(script: Any, keys: Flask) -> None:
    step(keys)
    before = DatabaseKeyRing(keys.extensions["secrets"], keys.extensions["settings"]).public_keys()
    told = report(script("--json", "--leaked"))
    assert [each["action"] for each in told["taken"]] == ["remove", "remove", "activate"]
    assert [key["state"] for key in told["keys"]] == ["active"]
    after = DatabaseKeyRing(keys.extensions["secrets"], keys.extensions["settings"])
    assert after.public_keys().keys().isdisjoint(before)
    assert after.signing_key().kid == told["keys"][0]["kid"]


def test_the_script_tells_people_what_it_did(script: Any) -> None:
    done = script("--older-than-days", "0")
    assert done.returncode == 0
    (active, following, taken, ahead) = done.stdout.splitlines()
    assert "active" in active
    assert "next" in following
    assert taken.startswith("now:")
    assert ahead.startswith("ahead:")
    assert "PRIVATE" not in done.stdout


@pytest.mark.parametrize(
    "arguments", [("--older-than-days", "-1"), ("--older-than-days", "x"), ("--no-such",)]
)
def test_what_the_script_does_not_understand(script: Any, arguments: tuple[str, ...]) -> None:
    done = script(*arguments)
    assert done.returncode == 2
    assert states() == ["active"]
