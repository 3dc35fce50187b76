"""What people are told of."""

from typing import Final

from app.core.cloudevents import CloudEvent
from app.core.consumers import consumer
from app.core.db import MainSession
from app.domains.notifications.service import notifying

TYPES: Final = (
    "document.deleted.v1",
    "document.link_created.v1",
    "document.version_added.v1",
    "invitation.accepted.v1",
    "member.removed.v1",
    "password.changed.v1",
    "password.reset.v1",
    "session.revoked.v1",
    "tenant.deleted.v1",
    "tenant.restored.v1",
    "tenant.resumed.v1",
    "tenant.suspended.v1",
    "user.role_changed.v1",
    "webhook.disabled.v1",
)


@consumer(name="notifications.notify", types=TYPES, plane="main")
def notify(session: MainSession, event: CloudEvent) -> None:
    notifying.notify(session, event)
