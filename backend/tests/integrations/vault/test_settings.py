"""Settings out of a real Vault: what lies there counts, and nothing replaces what it refuses."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from app.core.reference import effective
from app.settings import InvalidSettings, Settings, load_settings
from app.settings.stored import check_transit, signed_in
from app.settings.vault import VaultAccess
from app.settings.vault_client import VaultForbids
from embedded.vault import VaultServer
from tests.core.test_settings import GOOD
from tests.integrations.faults import Fault, FaultProxy
from tests.integrations.vault.rooms import SECRETS, Strongroom
from tests.paths import PROJECT

WRAPPER = str(PROJECT / "docker" / "flask-wrapper.sh")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """A process that would start without Vault too, were it allowed to."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in (GOOD | {"MAIL_FROM": "support@example.com"}).items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def variables(changes: dict[str, Any]) -> dict[str, str]:
    """The same as a process is given them."""
    secret = changes["vault_secret_id"].get_secret_value()
    return {name.upper(): str(value) for name, value in changes.items()} | {
        "VAULT_SECRET_ID": secret,
        "USE_VAULT": "true",
    }


def give(environment: pytest.MonkeyPatch, changes: dict[str, Any]) -> None:
    environment.delenv("VAULT_CA_FILE", raising=False)
    for name, value in variables(changes).items():
        if name != "VAULT_CA_FILE":
            environment.setenv(name, value)


def faults() -> str:
    with pytest.raises(InvalidSettings) as raised:
        load_settings(for_jobs=True)
    told = str(raised.value)
    assert "from-vault" not in told
    return told


def test_what_vault_has_counts_more_than_the_environment(
    room: Strongroom, environment: pytest.MonkeyPatch
) -> None:
    give(environment, room.changes())
    settings = load_settings(for_jobs=True)
    for name, value in SECRETS.items():
        assert getattr(settings, name) == SecretStr(value), name
    assert settings.secret_key.get_secret_value() != GOOD["SECRET_KEY"]
    sources = {row["name"]: row["source"] for row in effective(settings)}
    assert {name for name, source in sources.items() if source == "vault"} == {
        *(name.upper() for name in SECRETS),
        "SECRET_KEY",
        "BACKUP_KEYS",
    }
    assert sources["STORAGE_PATH"] == "environment"
    assert sources["TRASH_DAYS"] == "default"
    # Those of the environment still open what they sealed.
    assert sources["SECRETS_KEYS"] == "environment"


def test_a_role_gets_what_is_for_it(room: Strongroom, environment: pytest.MonkeyPatch) -> None:
    give(environment, room.changes("api"))
    assert load_settings().database_platform_url is None
    assert (
        f"does not allow {room.access.vault_kv_mount}/data/{room.entry('database-platform')}"
        in (faults())
    )


def test_no_keys_of_fernet_are_needed(room: Strongroom, environment: pytest.MonkeyPatch) -> None:
    environment.delenv("SECRETS_KEYS")
    assert "  SECRETS_KEYS: " in faults()
    give(environment, room.changes())
    assert load_settings().secrets_keys == ()


@pytest.mark.parametrize(
    ("setting", "value", "told"),
    [
        ("VAULT_SECRET_ID", "not the secret", "VAULT_ROLE_ID with its secret"),
        ("VAULT_ROLE_ID", "nobody", "VAULT_ROLE_ID with its secret"),
        ("VAULT_SECRET_ID", "", "  VAULT_SECRET_ID_FILE: "),
        ("VAULT_ADDR", "", "  VAULT_ADDR: "),
        ("VAULT_ADDR", "vault:8200", "  VAULT_ADDR: "),
        ("VAULT_ADDR", "http://127.0.0.1:1", "cannot be reached"),
        ("VAULT_CA_FILE", "/nowhere/ca.pem", "  VAULT_CA_FILE: "),
        ("VAULT_TRANSIT_KEY", "another", "another"),
        ("VAULT_PATH", "elsewhere", "elsewhere/testing/"),
        ("ENVIRONMENT", "production", "/production/"),
    ],
)
def test_nothing_stands_in_for_vault(
    room: Strongroom, environment: pytest.MonkeyPatch, setting: str, value: str, told: str
) -> None:
    """All that is needed is in the environment, and is not taken."""
    give(environment, room.changes())
    environment.setenv(setting, value)
    assert told in faults()


def test_a_silent_vault_is_waited_for_no_longer_than_is_said(
    room: Strongroom, environment: pytest.MonkeyPatch, proxy: FaultProxy
) -> None:
    proxy.fault = Fault.SILENT
    give(environment, room.changes(vault_addr=proxy.url, vault_timeout=0.3))
    assert "cannot be reached (ReadTimeout)" in faults()
    assert proxy.seen == 1


def test_a_sealed_vault(
    sealable: VaultServer, sealable_room: Strongroom, environment: pytest.MonkeyPatch
) -> None:
    give(environment, sealable_room.changes())
    sealable.root().sys.seal()
    try:
        for name in ("testing", "production"):
            environment.setenv("ENVIRONMENT", name)
            assert "is away: Vault is sealed" in faults()
    finally:
        sealable.unseal()


@pytest.mark.parametrize("missing", ["jwt", "decrypt", "keys"])
def test_a_policy_that_is_too_small(
    room: Strongroom, environment: pytest.MonkeyPatch, missing: str
) -> None:
    rules = room.root.sys.read_policy(room.setup.name_of("jobs"))["data"]["rules"]
    smaller = "".join(f"{line}\n" for line in rules.splitlines() if f"/{missing}" not in line)
    assert smaller != rules
    room.root.sys.create_or_update_policy(f"{room.name}-small", smaller)
    give(environment, room.new_role(token_policies=[f"{room.name}-small"]))
    told = faults()
    assert "does not allow" in told
    assert f"/{missing}" in told


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"METRICS_TOKN": "x" * 40}, "METRICS_TOKN"),
        ({"USE_VAULT": "false"}, "USE_VAULT"),
        ({"SECRET_KEY": "x" * 40}, "another entry"),
        ({"METRICS_TOKEN": "short"}, "  METRICS_TOKEN: "),
    ],
)
def test_an_entry_that_makes_no_sense(
    room: Strongroom, environment: pytest.MonkeyPatch, values: dict[str, str], told: str
) -> None:
    give(environment, room.changes())
    room.put("metrics", **values)
    try:
        assert told in faults()
    finally:
        room.put("metrics", METRICS_TOKEN="y" * 40)
    assert load_settings().metrics_token == SecretStr("y" * 40)


def test_the_secret_may_lie_in_a_file(
    room: Strongroom, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    changes = room.changes()
    file = tmp_path / "secret-id"
    give(environment, changes)
    environment.setenv("VAULT_SECRET_ID_FILE", str(file))
    assert "and not both" in faults()
    environment.delenv("VAULT_SECRET_ID")
    assert "VAULT_SECRET_ID_FILE cannot be read: No such file" in faults()
    file.write_text(changes["vault_secret_id"].get_secret_value() + "\n")
    assert load_settings().redis_url == SecretStr(SECRETS["redis_url"])


def test_a_command_gets_its_secrets_and_the_signals(room: Strongroom, tmp_path: Path) -> None:
    """In its environment alone, in the place of the wrapper."""
    script = (
        "import json, os, time; print(json.dumps([os.getpid(), dict(os.environ),"
        " open('/proc/self/cmdline').read()]), flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [WRAPPER, sys.executable, "-c", script, "an argument"],
        env={**os.environ, **variables(room.changes() | {"vault_ca_file": ""})},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        pid, given, command_line = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == -signal.SIGTERM
    assert pid == process.pid
    assert {name: given[name.upper()] for name in SECRETS} == SECRETS
    assert command_line.endswith("an argument\0")
    assert "from-vault" not in command_line


def test_a_program_of_another_gets_its_own_secrets_alone(room: Strongroom, tmp_path: Path) -> None:
    """By a role that may read no more; where one is missing, it is not started."""
    room.put("flower", FLOWER_BASIC_AUTH="flower:from-vault")
    told = variables(room.changes("flower") | {"vault_ca_file": ""})
    inherited = {"PATH": os.environ["PATH"], "ENVIRONMENT": "testing"}

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [WRAPPER, *arguments, "sh", "-c", "echo $REDIS_URL $FLOWER_BASIC_AUTH $DATABASE_URL"],
            env=inherited | told,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    given = run("--only", "redis,flower")
    assert given.stdout.split() == [SECRETS["redis_url"], "flower:from-vault"], given.stderr
    for refused, code in ((("--only", "flower,kafka"), 1), ((), 1), (("--only", "nothing"), 2)):
        ended = run(*refused)
        assert (ended.returncode, ended.stdout) == (code, "")
    with pytest.raises(VaultForbids), signed_in(VaultAccess(**room.changes("flower"))) as client:
        check_transit(client, room.access)


@pytest.mark.parametrize("use_vault", ["true", "false"])
def test_a_command_without_vault(room: Strongroom, tmp_path: Path, use_vault: str) -> None:
    """It is not started where Vault is to be asked, and cannot be."""
    away = {"vault_addr": "http://127.0.0.1:1", "vault_ca_file": ""}
    told = variables(room.changes() | away) | {"USE_VAULT": use_vault}
    ended = subprocess.run(
        [WRAPPER, "sh", "-c", "echo ran $REDIS_URL; exit 7"],
        env={**os.environ, **told, "REDIS_URL": "of the environment"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if use_vault == "true":
        assert (ended.returncode, ended.stdout) == (1, "")
        assert "cannot be reached" in ended.stderr
    else:
        assert (ended.returncode, ended.stdout) == (7, "ran of the environment\n")
