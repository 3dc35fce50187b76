"""Secrets sealed by a real Vault, beside those that Fernet sealed."""

from collections.abc import Iterator

import pytest
from cryptography.fernet import Fernet
from flask import Flask
from pydantic import SecretStr

from app.core.secrets import Boxes, FernetBox, SecretBox, SecretUnreadable
from app.integrations import vault
from app.integrations.vault import VaultRefused, VaultUnavailable
from app.settings import Settings
from embedded.vault import VaultServer
from tests.integrations.vault.rooms import Strongroom
from tests.tenancy.laboratory import until

KEY = Fernet.generate_key().decode()


class Sealing:
    """What seals in a process with these settings."""

    def __init__(self, settings: Settings, **changes: object) -> None:
        self._app = Flask(__name__)
        self.box: SecretBox = vault.init_app(self._app, settings.model_copy(update=changes))

    def close(self) -> None:
        if client := self._app.extensions["vault"]:
            client.close()


@pytest.fixture
def box(room: Strongroom, settings: Settings) -> Iterator[SecretBox]:
    sealing = Sealing(settings, **room.changes(), secrets_keys=())
    yield sealing.box
    sealing.close()


@pytest.mark.parametrize("secret", ["", "日本", "x" * 100_000, "\x00"])
def test_what_is_sealed_comes_back_for_its_context_alone(box: SecretBox, secret: str) -> None:
    sealed = box.seal(secret, context="acme")
    assert sealed.startswith("vault:v")
    assert sealed != box.seal(secret, context="acme")
    assert box.open(sealed, context="acme") == secret
    for context in ("globex", "ACME", "acme "):
        with pytest.raises(SecretUnreadable):
            box.open(sealed, context=context)


def test_a_changed_ciphertext(box: SecretBox) -> None:
    sealed = box.seal("hunter2", context="acme")
    for changed in (sealed[:-4] + "AAA=", "vault:", "vault:v9:" + sealed[9:], "vault:v1:!"):
        with pytest.raises(SecretUnreadable) as raised:
            box.open(changed, context="acme")
        assert raised.value.status == 503
        assert "hunter2" not in str(raised.value)


def test_a_value_tells_what_sealed_it(box: SecretBox, room: Strongroom, settings: Settings) -> None:
    """With both at hand, Vault seals, and each opens its own alone."""
    by_fernet = FernetBox([KEY]).seal("a login", context="acme")
    by_vault = box.seal("a login", context="acme")
    with pytest.raises(SecretUnreadable, match="without SECRETS_KEYS"):
        box.open(by_fernet, context="acme")
    with pytest.raises(SecretUnreadable, match="without USE_VAULT"):
        Boxes([FernetBox([KEY])]).open(by_vault, context="acme")
    both = Sealing(settings, **room.changes(), secrets_keys=(SecretStr(KEY),))
    try:
        assert both.box.open(by_fernet, context="acme") == "a login"
        assert both.box.open(by_vault, context="acme") == "a login"
        moved = both.box.resealed(by_fernet, context="acme")
    finally:
        both.close()
    assert moved is not None
    assert box.open(moved, context="acme") == "a login"


def test_after_a_rotation_the_same_secret_is_sealed_by_the_new_version(
    room: Strongroom, settings: Settings
) -> None:
    """By Vault itself; and once that is done, the old version can be retired."""
    before, transit = Sealing(settings, **room.changes()), room.root.secrets.transit
    mount, name = room.access.vault_transit_mount, room.access.vault_transit_key
    sealed = before.box.seal("a login", context="acme")
    assert before.box.resealed(sealed, context="acme") is None
    before.close()
    transit.rotate_key(name, mount_point=mount)
    after = Sealing(settings, **room.changes())
    renewed = after.box.resealed(sealed, context="acme")
    assert renewed is not None
    assert int(renewed.split(":")[1][1:]) == int(sealed.split(":")[1][1:]) + 1
    assert after.box.resealed(renewed, context="acme") is None
    with pytest.raises(SecretUnreadable):
        after.box.resealed(sealed, context="globex")
    newest = transit.read_key(name, mount_point=mount)["data"]["latest_version"]
    try:
        transit.update_key_configuration(name, min_decryption_version=newest, mount_point=mount)
        assert after.box.open(renewed, context="acme") == "a login"
        with pytest.raises(SecretUnreadable):
            after.box.open(sealed, context="acme")
    finally:
        transit.update_key_configuration(name, min_decryption_version=1, mount_point=mount)
        after.close()


def test_a_role_that_may_not_use_the_key(room: Strongroom, settings: Settings) -> None:
    sealing = Sealing(settings, **room.new_role(token_policies=["default"]))
    with pytest.raises(VaultRefused) as raised:
        sealing.box.seal("hunter2", context="acme")
    sealing.close()
    assert (raised.value.status, raised.value.retry_after) == (503, 30)
    assert room.name not in raised.value.detail


def test_a_sealed_vault(
    sealable: VaultServer, sealable_room: Strongroom, settings: Settings
) -> None:
    sealing = Sealing(settings, **sealable_room.changes())
    sealed = sealing.box.seal("a login", context="acme")
    sealable.root().sys.seal()
    try:
        with pytest.raises(VaultUnavailable) as raised:
            sealing.box.open(sealed, context="acme")
        assert (raised.value.status, raised.value.retry_after) == (503, 5)
        assert "127.0.0.1" not in raised.value.detail
    finally:
        sealable.unseal()
    until(lambda: _opens(sealing.box, sealed), "Vault's return")
    sealing.close()


def _opens(box: SecretBox, sealed: str) -> bool:
    try:
        return box.open(sealed, context="acme") == "a login"
    except VaultUnavailable:
        return False
