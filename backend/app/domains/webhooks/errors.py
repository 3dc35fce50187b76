"""What can go wrong with webhooks."""

from app.core.errors import Conflict, NotFound, Unprocessable


class EndpointNotFound(NotFound):
    """The tenant has no such webhook endpoint."""

    code = "webhook_not_found"


class DeliveryNotFound(NotFound):
    """The endpoint has no such delivery, or it is kept no longer."""

    code = "webhook_delivery_not_found"


class UrlUnacceptable(Unprocessable):
    """Webhooks are sent to https URLs of the public internet, and to nothing else.

    Give the URL of a server that anybody can reach.
    """

    code = "webhook_url_refused"


class UnknownEventType(Unprocessable):
    """An event type is none of GET /api/event-types.

    Choose from those, or `*` for all.
    """

    code = "unknown_event_type"


class TooManyEndpoints(Conflict):
    """The tenant has as many webhook endpoints as it may have.

    Delete one that is not needed.
    """

    code = "too_many_webhooks"


class EndpointDisabled(Conflict):
    """Nothing is sent to a webhook endpoint that is disabled.

    Enable it first.
    """

    code = "webhook_disabled"


class ReplayTooLarge(Unprocessable):
    """The range holds more deliveries than one request sends again.

    Choose a shorter range.
    """

    code = "webhook_replay_too_large"
