"""An environment in Vault that a test may do anything with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import hvac
from pydantic import SecretStr

from app.integrations.vault_setup import Setup, Step
from app.settings import Environment
from app.settings.vault import VaultAccess

# For a server on a loaded machine; what is about being slow says otherwise.
PATIENCE_SECONDS = 30.0
# What a process cannot start without, and Vault gives.
SECRETS = {
    "database_url": "postgresql://app:from-vault@localhost/main",
    "provisioner_url": "postgresql://provisioner:from-vault@localhost/postgres",
    "database_platform_url": "postgresql://platform:from-vault@localhost/main",
    "redis_url": "redis://:from-vault@localhost:6379/0",
    "mail_url": "smtps://user:from-vault@mail.example.com",
}


@dataclass
class Strongroom:
    """The environment `testing`, set up by the product's own code, in mounts named ``name``."""

    root: hvac.Client
    name: str
    given: Mapping[str, str]
    steps: list[Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.access = VaultAccess(
            environment=Environment.TESTING,
            use_vault=False,
            vault_addr=str(self.root.url),
            vault_kv_mount=f"{self.name}-kv",
            vault_transit_mount=f"{self.name}-transit",
            vault_transit_key=self.name,
            vault_timeout=PATIENCE_SECONDS,
        )
        self.setup = Setup(self.root, self.access)
        self.steps = self.run(self.given)

    def run(self, given: Mapping[str, str] = SECRETS, *, replace: bool = False) -> list[Step]:
        return list(self.setup.run(given, replace=replace, rotate_days=0))

    def changes(self, role: str = "jobs", **further: Any) -> dict[str, Any]:
        """The settings of a process that signs in as the role."""
        fields = self.access.model_dump(exclude={"environment", "vault_secret_id_file"})
        return fields | {
            "use_vault": True,
            "vault_role_id": self.setup.name_of(role),
            "vault_secret_id": SecretStr(self.setup.new_secret_id(role)),
            **further,
        }

    def entry(self, name: str) -> str:
        return f"{self.access.vault_folder}/{name}"

    def put(self, entry: str, **values: Any) -> None:
        """Instead of whatever the entry holds."""
        self.root.secrets.kv.v2.create_or_update_secret(
            self.entry(entry), secret=values, mount_point=self.access.vault_kv_mount
        )

    def new_role(self, **options: Any) -> dict[str, Any]:
        """The settings of a process with an AppRole of its own, which may what a job may."""
        role = f"{self.name}-own"
        policies = {"token_policies": [self.setup.name_of("jobs")]}
        self.root.auth.approle.create_or_update_approle(role, **(policies | options))
        made = self.root.auth.approle.generate_secret_id(role)["data"]["secret_id"]
        return self.changes() | {
            "vault_role_id": self.root.auth.approle.read_role_id(role)["data"]["role_id"],
            "vault_secret_id": SecretStr(made),
        }

    def close_role(self) -> None:
        """The role of `new_role` signs nobody in any more."""
        self.root.auth.approle.delete_role(f"{self.name}-own")

    def end_token(self, accessor: str) -> None:
        """As its expiry does."""
        self.root.auth.token.revoke_accessor(accessor)
