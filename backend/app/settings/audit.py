"""How the audit trails are sealed, and by which key their checkpoints are signed."""

import base64
from typing import Annotated, Final

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from app.settings.rules import Group, in_production, refuse_monotonous, split

_KEY_BYTES: Final = 32


class Audit(Group):
    audit_signing_key: SecretStr | None = None
    """URL-safe base64 of 32 random bytes: the seed of the Ed25519 key that signs checkpoints of the
    audit trails. Without one there are none, and a trail that is cut short does not show it."""
    audit_public_keys: Annotated[tuple[str, ...], NoDecode] = ()
    """Public keys of former signing keys, as `verify_audit.py --show-key` prints them, separated by
    commas: what they signed still holds."""
    audit_seal_seconds: Annotated[int, Field(ge=1, le=3600)] = 10
    """What a tenant records within this span is sealed together, two to three spans after it."""

    @field_validator("audit_signing_key")
    @classmethod
    def _is_an_audit_seed(cls, key: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if key is not None:
            seed = _decoded(key.get_secret_value())
            if in_production(info):
                refuse_monotonous(seed)
        return key

    @field_validator("audit_public_keys", mode="before")
    @classmethod
    def _split_public_keys(cls, value: object) -> object:
        return split(value) if isinstance(value, str) else value

    @field_validator("audit_public_keys")
    @classmethod
    def _are_public_keys(cls, keys: tuple[str, ...]) -> tuple[str, ...]:
        for key in keys:
            _decoded(key)
        return keys


def _decoded(key: str) -> bytes:
    raw = base64.urlsafe_b64decode(key)
    if len(raw) != _KEY_BYTES:
        raise ValueError("it is the URL-safe base64 of 32 bytes")
    return raw
