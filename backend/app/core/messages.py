"""What goes from a relay to the handlers, by Kafka or without it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """Bytes that should be a CloudEvent. Messages of one key on one topic stay in order.

    ``partition`` and ``offset`` say where it lies in Kafka, if it came from there.
    """

    topic: str
    key: str
    value: bytes | None
    partition: int | None = None
    offset: int | None = None


class Publisher(Protocol):
    """Where a relay hands messages over."""

    def publish(self, messages: Sequence[Message]) -> None:
        """Returns once none of them can be lost any more.

        Raises:
            Unavailable: it cannot be said what became of them; they have to be sent again.
        """
        ...
