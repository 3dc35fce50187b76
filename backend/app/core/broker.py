"""Redis as the broker of jobs, whose loss a worker survives."""

from typing import Any

from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as vendor
from redis.exceptions import ConnectionError as Disconnected


class _Channel(vendor.Channel):
    """Says that its connection is lost, where the vendor's stumbles over its absence.

    A worker that has a job when Redis goes away tries to give its message back by the channel that
    is lost. Celery connects again after an error of a connection, and ends after any other.
    """

    def _connparams(self, asynchronous: bool = False) -> Any:  # noqa: FBT001, FBT002  # Kombu's
        if getattr(self.connection, "client", None) is None:
            raise Disconnected("This channel's connection is lost.")
        return super()._connparams(asynchronous=asynchronous)  # type: ignore[misc]


class Transport(vendor.Transport):
    Channel = _Channel


def register() -> None:
    """For every redis:// of this process."""
    TRANSPORT_ALIASES["redis"] = f"{__name__}:{Transport.__name__}"
