"""The settings that lie in Vault."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import hvac

from app.settings.vault import ENTRIES, RESERVED, VaultAccess
from app.settings.vault_client import (
    VaultClient,
    VaultForbids,
    VaultLacks,
    VaultRejects,
)

# Before there are settings there is no reading them.
_NEVER_STORED: Final = frozenset(VaultAccess.model_fields)


@dataclass(frozen=True)
class Stored:
    """Values by the setting's name; ``gaps`` says which entries had none to give, and why."""

    values: dict[str, Any] = field(default_factory=dict)
    gaps: list[str] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """The same as variables."""
        return {name.upper(): _as_text(value) for name, value in self.values.items()}


@contextmanager
def signed_in(access: VaultAccess) -> Iterator[VaultClient]:
    """For a short visit."""
    client = VaultClient(access)
    try:
        yield client
    finally:
        client.close()


def read_stored(
    client: VaultClient,
    access: VaultAccess,
    *,
    known: Mapping[str, Any],
    needed: Collection[str] = (),
) -> Stored:
    """All that this process may read; or the ``needed`` entries, and those in full.

    Raises:
        VaultFault: Vault is away or has not or refuses what is needed, or an entry is wrong.
    """
    stored = Stored()
    for entry in needed or ENTRIES:
        path = f"{access.vault_folder}/{entry}"
        try:
            found = client.ask(partial(_read, mount=access.vault_kv_mount, path=path))
        except VaultLacks as gap:
            if needed:
                raise
            stored.gaps.append(str(gap))
            continue
        except VaultForbids as gap:
            if needed or entry not in RESERVED:
                raise
            stored.gaps.append(str(gap))
            continue
        for key, value in found["data"]["data"].items():
            if value == "":
                continue  # nothing, as in the environment
            name = key.lower()
            if name not in known or name in _NEVER_STORED:
                raise VaultRejects(f"{path} in Vault holds {key}, which is no setting to be kept.")
            if name in stored.values:
                raise VaultRejects(f"{key} stands in {path} in Vault, and in another entry too.")
            stored.values[name] = value
    return stored


def check_transit(client: VaultClient, access: VaultAccess) -> None:
    """Returns where stored secrets can be sealed and opened.

    Raises:
        VaultFault: it says why not.
    """
    mount, name = access.vault_transit_mount, access.vault_transit_key
    paths = [f"{mount}/{verb}/{name}" for verb in ("encrypt", "decrypt", "rewrap")]
    key = client.ask(lambda vault: vault.secrets.transit.read_key(name, mount_point=mount))["data"]
    if not key["derived"] or not key["supports_encryption"]:
        raise VaultRejects(f"{mount}/keys/{name} in Vault is no derived key for encryption.")
    allowed = client.ask(lambda vault: vault.sys.get_capabilities(paths))["data"]
    if refused := [path for path in paths if not {"update", "root"} & set(allowed[path])]:
        raise VaultForbids(f"Vault does not allow {', '.join(refused)}.")


def _read(vault: hvac.Client, *, mount: str, path: str) -> Any:
    return vault.secrets.kv.v2.read_secret_version(
        path, mount_point=mount, raise_on_deleted_version=True
    )


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
