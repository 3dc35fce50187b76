"""A user's own notifications over HTTP."""

from collections.abc import Sequence
from typing import Any, Final, cast
from uuid import UUID

from flask import Blueprint, Flask, Response, current_app, request

from app.core.caller import Caller
from app.core.db import MainSession
from app.core.errors import BadRequest
from app.core.http import SIGNED_IN, OpenPlane, current_edge, endpoint
from app.core.pages import current_cursors
from app.core.streams import EVENT_STREAM, current_streams
from app.domains.notifications import schemas
from app.domains.notifications.models import Notification
from app.domains.notifications.service import listing, preferences, streaming
from app.settings import current_settings

blueprint: Final = Blueprint("notifications", __name__)

_ALL: Final = "/api/users/me/notifications"
_PREFERENCES: Final = "/api/users/me/notification-preferences"


@blueprint.get(_ALL)
@endpoint(
    allow=SIGNED_IN,
    transaction="main",
    query=schemas.NotificationQuery,
    returns=schemas.NotificationPage,
    errors=(401, 422),
)
def list_notifications(
    session: MainSession, caller: Caller, query: dict[str, Any]
) -> dict[str, object]:
    """What the caller was told, newest first, of all tenants."""
    page = listing.list_notifications(
        session, user_id=caller.user_id, cursors=current_cursors(), **query
    )
    unread = listing.count_unread(session, user_id=caller.user_id)
    return {"items": page.items, "next_cursor": page.next_cursor, "unread": unread}


@blueprint.patch(_ALL + "/<uuid:notification_id>")
@endpoint(
    allow=SIGNED_IN,
    transaction="main",
    body=schemas.MarkNotification,
    returns=schemas.Notification,
    errors=(401, 404, 422),
)
def mark_notification(
    session: MainSession, caller: Caller, notification_id: UUID, body: dict[str, bool]
) -> Notification:
    """Mark a notification as read, or as unread again."""
    return listing.mark(
        session, user_id=caller.user_id, notification_id=notification_id, read=body["read"]
    )


@blueprint.post(_ALL + "/mark-all")
@endpoint(
    allow=SIGNED_IN,
    transaction="main",
    body=schemas.MarkAll,
    body_required=False,
    returns=schemas.Marked,
    errors=(401, 422),
)
def mark_all(session: MainSession, caller: Caller, body: dict[str, Any]) -> dict[str, int]:
    """Mark all notifications as read, or all up to the newest that was seen."""
    return {"marked": listing.mark_all(session, user_id=caller.user_id, **body)}


@blueprint.get(_ALL + "/stream")
@endpoint(allow=SIGNED_IN, transaction=None, gives_file=EVENT_STREAM, errors=(400, 401, 503))
def stream_notifications(caller: Caller, open_session: OpenPlane) -> Response:
    """Notifications while they come, as server-sent events, for a while; Last-Event-ID continues.

    The events are ``notification``, ``unread`` with the number of all unread ones, and ``end`` when
    the session is over. Without a free stream it is 503: ask for the list instead.
    """
    authorization, last_id = request.headers.get("Authorization"), _last_event_id()
    app = cast("Flask", current_app._get_current_object())  # type: ignore[attr-defined]  # noqa: SLF001

    def look_after(after: UUID) -> tuple[Sequence[Notification], int]:
        with app.app_context():
            current_edge().identify(authorization, None, any_state=True)
            with open_session("main") as session:
                return streaming.look(
                    cast("MainSession", session), user_id=caller.user_id, after=after
                )

    leave = current_streams().enter(caller.user_id)
    response = Response(mimetype=EVENT_STREAM)
    response.call_on_close(leave)
    response.response = streaming.stream(
        look_after,
        last_id=last_id,
        seconds=current_settings().stream_seconds,
        dump=schemas.Notification().dump,
    )
    response.headers["X-Accel-Buffering"] = "no"  # nginx would keep it until it is over
    return response


@blueprint.get(_PREFERENCES)
@endpoint(allow=SIGNED_IN, transaction="main", returns=schemas.PreferenceList, errors=(401,))
def list_preferences(session: MainSession, caller: Caller) -> dict[str, object]:
    """How the caller is told of what."""
    return {"items": preferences.list_preferences(session, user_id=caller.user_id)}


@blueprint.patch(_PREFERENCES)
@endpoint(
    allow=SIGNED_IN,
    transaction="main",
    body=schemas.ChangePreferences,
    returns=schemas.PreferenceList,
    errors=(401, 422),
)
def change_preferences(
    session: MainSession, caller: Caller, body: dict[str, Any]
) -> dict[str, object]:
    """Choose for each kind whether it is listed and whether a mail is sent."""
    changed = preferences.change_preferences(session, user_id=caller.user_id, changes=body["items"])
    return {"items": changed}


def _last_event_id() -> UUID | None:
    given = request.headers.get("Last-Event-ID")
    try:
        return None if given is None else UUID(given)
    except ValueError:
        raise BadRequest("Last-Event-ID is the id of an event that was received.") from None
