"""What the groups of settings share: how each is read, and what production refuses."""

from enum import StrEnum
from typing import Any, Final

from pydantic import Field, ValidationInfo
from pydantic_settings import BaseSettings, SettingsConfigDict


class Environment(StrEnum):
    DEVELOPMENT = "development"
    TESTING = "testing"
    PRODUCTION = "production"


class Group(BaseSettings):
    """One field per environment variable of the same name, in capitals."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="ignore",
        env_ignore_empty=True,
        validate_default=True,
        use_attribute_docstrings=True,
    )


class Beginning(Group):
    """What says where all else comes from."""

    environment: Environment = Environment.PRODUCTION
    """Production refuses weak secrets, plain http, debugging and roles that no rule holds."""
    use_vault: bool = False
    """Whether the secrets among these settings come from Vault, and stored secrets are sealed by
    it; docs/vault.md."""


def unless_testing(default: int, *, testing: int) -> Any:
    """A field's default, and another one under ENVIRONMENT=testing."""

    def choose(known: dict[str, Any]) -> int:
        return testing if known.get("environment") == Environment.TESTING else default

    return Field(default_factory=choose)


# What generated secrets never hold, and examples, defaults and habits do.
_WORDS: Final = ("change", "default", "example", "password", "postgres", "secret", "12345")
_FEWEST_CHARACTERS: Final = 10
_SHORTEST_PASSWORD: Final = 12


def in_production(info: ValidationInfo) -> bool:
    """Of a field that comes after ``environment``."""
    return info.data.get("environment") == Environment.PRODUCTION


def split(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


def refuse_weak(secret: str) -> None:
    """For what people may have chosen."""
    if any(word in secret.lower() for word in _WORDS):
        raise ValueError("it holds a word that people guess; generate it")
    if len(secret) < _SHORTEST_PASSWORD or len(set(secret)) < _FEWEST_CHARACTERS:
        raise ValueError("it is too simple for production; generate it")


def refuse_monotonous(key: bytes) -> None:
    """For keys of 32 bytes."""
    if len(set(key)) < _FEWEST_CHARACTERS:
        raise ValueError("a key is no random one; generate it")
