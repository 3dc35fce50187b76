"""What the feed does about events."""

from datetime import timedelta
from typing import Final

from app.core.cloudevents import CloudEvent
from app.core.consumers import EVERY, consumer
from app.domains.activity import service
from app.settings import current_settings
from app.tenancy.sessions import TenantSession

# Requests to the house itself, of which nobody else has anything.
_NO_NEWS: Final = frozenset({"file.process.v1"})


@consumer(name="activity.feed", types=EVERY)
def note(session: TenantSession, event: CloudEvent) -> None:
    if event.type not in _NO_NEWS:
        kept = timedelta(days=current_settings().activity_retention_days)
        service.note(session, event, kept=kept)
