"""How events leave the house, and how often what is done about them is tried."""

from typing import Annotated

from pydantic import Field

from app.settings.rules import Group


class Events(Group):
    outbox_poll_seconds: Annotated[float, Field(gt=0, le=60)] = 0.1
    """How often a relay looks for tenants that told something."""
    outbox_sweep_seconds: Annotated[float, Field(gt=0, le=3600)] = 0.5
    """A relay looks into one tenant after another, at this pace, for what Redis forgot."""
    outbox_threads: Annotated[int, Field(ge=1, le=100)] = 4
    """Tenants that a relay works for at the same time."""
    outbox_batch: Annotated[int, Field(ge=1, le=10_000)] = 500
    """Events that are sent in one transaction."""
    outbox_retention_days: Annotated[int, Field(ge=1)] = 7
    """How long events that were sent are kept, and which have been handled: longer than Kafka's."""
    event_attempts: Annotated[int, Field(ge=1, le=100)] = 10
    """Attempts at an event before it becomes a dead letter."""
    event_back_off_seconds: Annotated[float, Field(gt=0, le=3600)] = 1.0
    """The pause after the first failed attempt; doubles with each further one, up to an hour."""
