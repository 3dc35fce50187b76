"""Setting Vault up: once or often, and never over what somebody chose."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.settings.vault import VaultAccess
from app.settings.vault_client import (
    VaultAway,
    VaultClient,
    VaultForbids,
    VaultRejects,
    connect,
)
from embedded.entra.certificates import make_certificates
from tests.integrations.vault.rooms import PATIENCE_SECONDS, SECRETS, Strongroom
from tests.paths import PROJECT
from tests.tenancy.laboratory import until


def states(steps: list[Any]) -> set[str]:
    return {step.state for step in steps}


def read(room: Strongroom, entry: str) -> dict[str, str]:
    found = room.root.secrets.kv.v2.read_secret_version(
        room.entry(entry), mount_point=room.access.vault_kv_mount, raise_on_deleted_version=True
    )
    return dict(found["data"]["data"])


def test_the_second_time_there_is_nothing_to_do(room: Strongroom) -> None:
    assert states(room.steps) <= {"made", "there"}
    before = read(room, "jwt")
    assert len(before["SECRET_KEY"]) > 40
    assert states(room.run()) == {"there"}
    assert read(room, "jwt") == before


def test_a_secret_that_differs_is_kept_until_it_is_to_be_replaced(room: Strongroom) -> None:
    other = SECRETS | {"mail_url": "smtps://mail.example.org", "kafka_password": "new"}
    told = {step.what: step.state for step in room.run(other)}
    assert told[f"MAIL_URL in {room.entry('mail')}"] == "kept"
    assert told[f"KAFKA_PASSWORD in {room.entry('kafka')}"] == "made"
    assert read(room, "mail") == {"MAIL_URL": SECRETS["mail_url"]}
    fresh = read(room, "jwt")
    told = {step.what: step.state for step in room.run(other, replace=True)}
    assert told[f"MAIL_URL in {room.entry('mail')}"] == "changed"
    assert read(room, "mail") == {"MAIL_URL": "smtps://mail.example.org"}
    assert read(room, "jwt") == fresh
    assert states(room.run(SECRETS, replace=True)) == {"there", "changed"}


def test_what_somebody_changed_is_mended(room: Strongroom) -> None:
    name = room.setup.name_of("api")
    room.root.sys.create_or_update_policy(name, 'path "*" { capabilities = ["read"] }')
    room.root.auth.approle.update_role_id(name, f"{name}-other")
    changed = {step.what for step in room.run() if step.state == "changed"}
    assert changed == {f"policy {name}", f"role {name}"}


def test_something_else_in_its_place_is_left_alone(room: Strongroom) -> None:
    other = f"{room.name}-other"
    room.root.sys.enable_secrets_engine("kv", path=other, options={"version": "1"})
    for taken in ({"vault_kv_mount": other}, {"vault_transit_mount": other}):
        access = room.access.model_copy(update=taken)
        with pytest.raises(VaultRejects, match="is mounted"):
            list(type(room.setup)(room.root, access).run({}, replace=True, rotate_days=0))


@pytest.mark.parametrize(
    "path",
    ["{kv}/data/saas-project/production/jwt", "{kv}/metadata/saas-project/testing", "sys/mounts"],
)
def test_a_role_reads_nothing_else(room: Strongroom, path: str) -> None:
    client = VaultClient(VaultAccess(**room.changes("operator")))
    with pytest.raises(VaultForbids):
        client.ask(lambda vault: vault.read(path.format(kv=room.access.vault_kv_mount)))
    client.close()


def test_from_an_untouched_vault_to_a_process_that_signs_in(
    untouched_by_tls: tuple[str, Path], tmp_path: Path
) -> None:
    """By the scripts, which can be repeated; what they write is for its owner alone.

    Over TLS, with a certificate of an authority that nobody else knows.
    """
    keys, folder, given = tmp_path / "vault.json", tmp_path / "keys", tmp_path / "shop.env"
    given.write_text("REDIS_URL=redis://:a-Secret-of-ours@redis/0\nINSTALLATION_ID=shop\n")
    address, authority = untouched_by_tls
    reached: dict[str, Any] = {
        "vault_addr": address,
        "vault_ca_file": authority,
        "vault_timeout": PATIENCE_SECONDS,
    }
    environment = os.environ | {name.upper(): str(value) for name, value in reached.items()}
    environment["VAULT_TOKEN"] = ""

    def run(script: str, *arguments: str) -> Any:
        program = sys.executable if script.endswith(".py") else "bash"
        ended = subprocess.run(
            [program, str(PROJECT / "scripts" / script), *arguments, "--json"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert ended.returncode == 0, ended.stderr
        assert "a-Secret-of-ours" not in ended.stdout
        return json.loads(ended.stdout)

    def set_up() -> set[str]:
        told = run(
            "vault_init.py",
            *("--initialise", str(keys), "--credentials", str(folder)),
            *("--environment", "testing", "--from-env", str(given), "--rotate-days", "90"),
        )
        return {step["state"] for step in told}

    assert set_up() == {"made", "changed"}
    assert set_up() == {"there"}
    for file in (keys, folder / "jobs.secret-id"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    root = connect(
        VaultAccess.model_validate(reached), token=json.loads(keys.read_text())["root_token"]
    )
    root.sys.seal()
    assert run("vault_unseal.sh", str(keys)) == {"sealed": False, "was_sealed": True}
    heartbeat = tmp_path / "heartbeat"
    watch = ["bash", str(PROJECT / "scripts" / "vault_unseal.sh"), "--watch", str(keys)]
    with subprocess.Popen(watch, env=environment | {"HEARTBEAT_FILE": str(heartbeat)}) as watcher:
        try:
            for _ in range(2):
                root.sys.seal()
                until(lambda: not root.sys.is_sealed(), "Vault is unsealed by who watches it")
            until(heartbeat.exists, "a sign of life")
        finally:
            watcher.terminate()
    own = {
        "use_vault": True,
        "vault_role_id": "tenantry-testing-jobs",
        "vault_secret_id_file": folder / "jobs.secret-id",
    }
    client = VaultClient(VaultAccess.model_validate(reached | own))
    client.ping()
    client.close()
    (tmp_path / "others").mkdir()
    others, _ = make_certificates(tmp_path / "others")
    for other in (None, others):
        stranger = VaultClient(VaultAccess.model_validate(reached | own | {"vault_ca_file": other}))
        with pytest.raises(VaultAway, match="SSLError"):
            stranger.ping()
