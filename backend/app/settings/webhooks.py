"""How webhooks are delivered."""

from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from app.settings.rules import Group, in_production, split


class Webhooks(Group):
    webhook_timeout_seconds: Annotated[float, Field(gt=0, le=30)] = 20.0
    """How long one attempt may take, from the question for an address to the answer's last byte."""
    webhook_retry_seconds: Annotated[tuple[int, ...], NoDecode, Field(max_length=50)] = (
        *(5, 300, 1800, 7200, 18_000),
        *(36_000, 50_400, 72_000, 86_400),
    )
    """The pauses between one attempt and the next, separated by commas; after the last of them an
    event is given up."""
    webhook_disable_after_hours: Annotated[float, Field(gt=0)] = 5 * 24
    """An endpoint that has failed for so long without one success is disabled."""
    webhook_retention_days: Annotated[int, Field(ge=1, le=365)] = 30
    """How long events can be looked up and sent again after they were sent."""
    webhook_allow_loopback: bool = False
    """Lets webhooks reach this machine, and by plain http; for development, refused in
    production."""

    @field_validator("webhook_retry_seconds", mode="before")
    @classmethod
    def _split_pauses(cls, value: object) -> object:
        return split(value) if isinstance(value, str) else value

    @field_validator("webhook_retry_seconds")
    @classmethod
    def _are_pauses(cls, pauses: tuple[int, ...]) -> tuple[int, ...]:
        if not all(0 < pause <= 7 * 86_400 for pause in pauses):
            raise ValueError("a pause takes from a second to a week")
        return pauses

    @field_validator("webhook_allow_loopback")
    @classmethod
    def _nobody_reaches_us(cls, allowed: bool, info: ValidationInfo) -> bool:  # noqa: FBT001
        if allowed and in_production(info):
            raise ValueError("in production, webhooks reach the public internet alone")
        return allowed
