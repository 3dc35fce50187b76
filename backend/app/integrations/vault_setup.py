"""What an installation needs in Vault: engines, a key, policies, roles, its first secrets.

Everything is looked for before it is made, and a secret that is there is never overwritten unless
that is asked for.
"""

import base64
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import hvac
from hvac.exceptions import InvalidPath, InvalidRequest

from app.settings.vault import ENTRIES, RESERVED, VaultAccess
from app.settings.vault_client import VaultRejects

State = Literal["there", "made", "changed", "kept"]

_FOR_ALL: Final = frozenset(ENTRIES) - RESERVED
# Who may read which entries.
ROLES: Final[Mapping[str, frozenset[str]]] = {
    "api": _FOR_ALL,
    "jobs": _FOR_ALL | {"database-platform", "audit-trails"},
    "operator": frozenset(ENTRIES),
    "flower": frozenset({"redis", "flower"}),
}
# It opens nothing that is stored sealed.
_WITHOUT_KEY: Final = frozenset({"flower"})
# A token lives for an hour, is renewed until a day is over, and is then replaced by a new one.
_ROLE: Final = {
    "token_ttl": 3600,
    "token_max_ttl": 24 * 3600,
    "token_type": "service",
    "secret_id_ttl": 0,
    "secret_id_num_uses": 0,
}
# Secrets that only this installation has to know; made where they are neither there nor given.
_FRESH: Final[Mapping[str, Callable[[], str]]] = {
    "secret_key": lambda: secrets.token_urlsafe(48),
    "backup_keys": lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
}
_UPGRADE_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Step:
    """Something that Vault has to have; `kept`: it has another value, and was left alone."""

    what: str
    state: State


class Setup:
    """Sets up one environment, as whoever the client's token belongs to."""

    def __init__(self, vault: hvac.Client, access: VaultAccess) -> None:
        self._vault = vault
        self._access = access

    def run(self, given: Mapping[str, str], *, replace: bool, rotate_days: int) -> Iterator[Step]:
        """All of it; ``given`` are values by the setting's name, beside those that are made here.

        Raises:
            VaultRejects: something else is where it would be.
        """
        yield self._engine(self._access.vault_kv_mount, "kv", {"version": "2"})
        yield self._engine(self._access.vault_transit_mount, "transit", None)
        yield from self._key(rotate_days)
        yield self._approle()
        for role in ROLES:
            yield self._policy(role)
            yield self._role(role)
        for entry, names in ENTRIES.items():
            told = {name.upper(): given[name] for name in names if given.get(name)}
            fresh = {name.upper(): _FRESH[name]() for name in names if name in _FRESH}
            yield from self._secrets(entry, told, fresh, replace=replace)

    def name_of(self, role: str) -> str:
        """What the policy and the AppRole are called; also the role's id, which is no secret."""
        return f"{self._access.vault_transit_key}-{self._access.environment}-{role}"

    def new_secret_id(self, role: str) -> str:
        """One more; those that were handed out stay good."""
        made = self._vault.auth.approle.generate_secret_id(self.name_of(role))
        return str(made["data"]["secret_id"])

    def _engine(self, mount: str, kind: str, options: dict[str, str] | None) -> Step:
        what = f"engine {mount} ({kind})"
        mounted = self._vault.sys.list_mounted_secrets_engines()["data"].get(f"{mount}/")
        if mounted is None:
            self._vault.sys.enable_secrets_engine(kind, path=mount, options=options)
            return Step(what, "made")
        if mounted["type"] != kind or (options and mounted["options"] != options):
            raise VaultRejects(f"{mount}/ in Vault is mounted, and is no {kind} of this version.")
        return Step(what, "there")

    def _key(self, rotate_days: int) -> Iterator[Step]:
        transit, mount = self._vault.secrets.transit, self._access.vault_transit_mount
        name = self._access.vault_transit_key
        try:
            key = transit.read_key(name, mount_point=mount)["data"]
            state: State = "there"
        except InvalidPath:
            transit.create_key(name, derived=True, mount_point=mount)
            key, state = transit.read_key(name, mount_point=mount)["data"], "made"
        if not key["derived"]:
            raise VaultRejects(f"{mount}/keys/{name} in Vault is no derived key.")
        yield Step(f"key {mount}/{name}", state)
        if rotate_days:
            seconds = rotate_days * 24 * 3600
            same = key.get("auto_rotate_period") == seconds
            if not same:
                transit.update_key_configuration(
                    name, auto_rotate_period=f"{seconds}s", mount_point=mount
                )
            yield Step(f"rotation every {rotate_days} days", "there" if same else "changed")

    def _approle(self) -> Step:
        there = "approle/" in self._vault.sys.list_auth_methods()["data"]
        if not there:
            self._vault.sys.enable_auth_method("approle")
        return Step("sign-in by AppRole", "there" if there else "made")

    def _policy(self, role: str) -> Step:
        name, wanted = self.name_of(role), self._rules(role)
        try:
            present = self._vault.sys.read_policy(name)["data"]["rules"]
        except InvalidPath:
            present = None
        if present != wanted:
            self._vault.sys.create_or_update_policy(name, wanted)
        return Step(f"policy {name}", _state(present, wanted))

    def _rules(self, role: str) -> str:
        access = self._access
        folder = f"{access.vault_kv_mount}/data/{access.vault_folder}"
        transit, key = access.vault_transit_mount, access.vault_transit_key
        rules = {f"{folder}/{each}": "read" for each in ENTRIES if each in ROLES[role]}
        if role not in _WITHOUT_KEY:
            rules[f"{transit}/keys/{key}"] = "read"
            verbs = ("encrypt", "decrypt", "rewrap")
            rules |= {f"{transit}/{verb}/{key}": "update" for verb in verbs}
        return "".join(
            f'path "{path}" {{ capabilities = ["{may}"] }}\n' for path, may in rules.items()
        )

    def _role(self, role: str) -> Step:
        name = self.name_of(role)
        wanted: dict[str, Any] = {**_ROLE, "token_policies": [name]}
        approle = self._vault.auth.approle
        try:
            found = approle.read_role(name)["data"] | approle.read_role_id(name)["data"]
            present = {field: found[field] for field in (*wanted, "role_id")}
        except InvalidPath:
            present = None
        if present != wanted | {"role_id": name}:
            approle.create_or_update_approle(name, **wanted)
            approle.update_role_id(name, name)
        return Step(f"role {name}", _state(present, wanted | {"role_id": name}))

    def _secrets(
        self, entry: str, given: Mapping[str, str], fresh: Mapping[str, str], *, replace: bool
    ) -> Iterator[Step]:
        """What is there stays, but for what is given and to be replaced."""
        path = f"{self._access.vault_folder}/{entry}"
        present, version = self._read(path)
        wanted = {**fresh, **given, **present, **(given if replace else {})}
        if wanted != present:
            self._write(path, wanted, version)
        for name, value in wanted.items():
            state = _state(present.get(name), value)
            if state == "there" and given.get(name, value) != value:
                state = "kept"
            yield Step(f"{name} in {path}", state)

    def _read(self, path: str) -> tuple[dict[str, str], int]:
        """What lies there, and its version: 0 where nothing does."""
        read = self._vault.secrets.kv.v2.read_secret_version
        mount = self._access.vault_kv_mount
        try:
            found = _once_upgraded(
                lambda: read(path, mount_point=mount, raise_on_deleted_version=True)
            )
        except InvalidPath:
            return {}, self._last_version(path)
        return found["data"]["data"], int(found["data"]["metadata"]["version"])

    def _last_version(self, path: str) -> int:
        """Of what was deleted."""
        try:
            found = self._vault.secrets.kv.v2.read_secret_metadata(
                path, mount_point=self._access.vault_kv_mount
            )
        except InvalidPath:
            return 0
        return int(found["data"]["current_version"])

    def _write(self, path: str, values: dict[str, str], version: int) -> None:
        """Not over what somebody wrote meanwhile."""
        self._vault.secrets.kv.v2.create_or_update_secret(
            path, secret=values, cas=version, mount_point=self._access.vault_kv_mount
        )


def _once_upgraded(read: Callable[[], Any]) -> Any:
    """A key-value engine that was just mounted refuses for a moment."""
    deadline = time.monotonic() + _UPGRADE_SECONDS
    while True:
        try:
            return read()
        except InvalidRequest as error:
            if "pgrad" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _state(present: object, wanted: object) -> State:
    if present is None:
        return "made"
    return "there" if present == wanted else "changed"
