"""Whether secrets come from HashiCorp's Vault, and how this process gets in."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from app.settings.rules import Beginning, Group

_NAME: Final = r"^[A-Za-z0-9_-]+(?:/[A-Za-z0-9_-]+)*$"

# Which secrets lie in which entry below VAULT_PATH. Entries are what a policy tells apart.
ENTRIES: Final[Mapping[str, tuple[str, ...]]] = {
    "database": ("database_url", "provisioner_url"),
    "database-platform": ("database_platform_url",),
    "database-owner": ("database_owner_url",),
    "redis": ("redis_url",),
    "jwt": ("secret_key", "secrets_keys"),
    "s3": ("s3_access_key_id", "s3_secret_access_key"),
    "mail": ("mail_url",),
    "kafka": ("kafka_username", "kafka_password"),
    "backups": ("backup_keys",),
    "metrics": ("metrics_token",),
    "audit": ("report_signing_key",),
    "audit-trails": ("audit_signing_key",),
    "flower": ("flower_basic_auth",),
}
# Not for every process: one that may not read them goes on without.
RESERVED: Final = frozenset(
    {"database-platform", "database-owner", "audit", "audit-trails", "flower"}
)


class Vault(Group):
    """Comes after `Beginning`, to which its rules look back."""

    vault_addr: str = ""
    """Where Vault is: `https://vault.example.com:8200`. Required with Vault."""
    vault_ca_file: Path | None = None
    """The certificate authority of that address; else the system's roots."""
    vault_role_id: str = ""
    """The AppRole that this process signs in as. Required with Vault."""
    vault_secret_id: SecretStr = SecretStr("")
    """The secret of that role. It or the next is required with Vault."""
    vault_secret_id_file: Path | None = None
    """A file that holds the secret, read anew at each sign-in, so that it can be replaced."""
    vault_timeout: Annotated[float, Field(gt=0, le=60)] = 3.0
    """Seconds until a Vault whose answer is not here, whole, counts as away."""
    vault_kv_mount: Annotated[str, Field(pattern=_NAME)] = "secret"
    """Where its key-value engine (version 2) is mounted."""
    vault_path: Annotated[str, Field(pattern=_NAME)] = "saas-project"
    """The folder there; each environment has one of its name in it."""
    vault_transit_mount: Annotated[str, Field(pattern=_NAME)] = "transit"
    """Where its transit engine is mounted."""
    vault_transit_key: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")] = "tenantry"
    """The key there that seals stored secrets."""

    @field_validator("vault_addr", "vault_role_id")
    @classmethod
    def _is_given_with_vault(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("use_vault") and not value:
            raise ValueError("Field required where USE_VAULT is true")
        return value

    @field_validator("vault_addr")
    @classmethod
    def _is_an_origin_of_vault(cls, url: str) -> str:
        parts = urlsplit(url.rstrip("/"))
        if url and not (parts.scheme in {"http", "https"} and parts.netloc and not parts.path):
            raise ValueError("it is http:// or https:// and a host, without a path")
        return url.rstrip("/")

    @field_validator("vault_secret_id_file")
    @classmethod
    def _has_one_secret(cls, file: Path | None, info: ValidationInfo) -> Path | None:
        given = info.data.get("vault_secret_id", SecretStr("")).get_secret_value()
        if info.data.get("use_vault") and bool(given) == bool(file):
            raise ValueError("with USE_VAULT, give it or VAULT_SECRET_ID, and not both")
        return file

    @field_validator("vault_ca_file")
    @classmethod
    def _is_a_file(cls, file: Path | None) -> Path | None:
        if file is not None and not file.is_file():
            raise ValueError("there is no such file")
        return file

    @property
    def vault_secret(self) -> str:
        """Raises: OSError: the file cannot be read."""
        if self.vault_secret_id_file is not None:
            return self.vault_secret_id_file.read_text(encoding="utf-8").strip()
        return self.vault_secret_id.get_secret_value()


class VaultAccess(Vault, Beginning):
    """What is needed before all other settings are there."""

    @property
    def vault_folder(self) -> str:
        """Where this environment's secrets lie in the key-value engine."""
        return f"{self.vault_path}/{self.environment}"
