"""What the feed does about events."""

from app.core.cloudevents import CloudEvent
from app.core.consumers import EVERY, consumer
from app.domains.activity import service
from app.tenancy.sessions import TenantSession


@consumer(name="activity.feed", types=EVERY)
def note(session: TenantSession, event: CloudEvent) -> None:
    service.note(session, event)
