"""What endpoints may be, and whether anything is sent to one."""

from typing import Final

from app.domains.webhooks.models import Endpoint

EVERY: Final = "*"
# Requests to the house itself: who chose every event does not mean these.
NO_NEWS: Final = frozenset({"file.process.v1"})
# Each event may be sent to all of them.
MOST_ENDPOINTS: Final = 20
MOST_REPLAYED: Final = 1000
# Attempts of one tenant at the same time, so that its slow endpoints do not hold all workers.
MOST_AT_ONCE: Final = 5


def chosen_by(event_type: str) -> list[str]:
    """What an endpoint chose that gets events of the type."""
    return [event_type] if event_type in NO_NEWS else [event_type, EVERY]


def goes_out(endpoint: Endpoint) -> bool:
    """The one place that decides it: asked when an event comes, and again before each attempt."""
    return endpoint.enabled
