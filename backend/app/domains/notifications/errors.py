"""What can go wrong with notifications."""

from app.core.errors import NotFound


class NotificationNotFound(NotFound):
    """The caller has no such notification, or it is kept no longer."""

    code = "notification_not_found"
