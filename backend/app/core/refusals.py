"""Refusals for want of a right: recorded, although what was refused is undone.

Who was refused is somebody: a caller whom nobody knows is in the log alone. Refusals of one user
are recorded up to a number an hour, then it is recorded once that there are more: who hammers shall
not fill the trail.
"""

from dataclasses import dataclass
from typing import ClassVar, Final
from uuid import UUID

from flask import g, request

from app.core import events
from app.core.caller import Caller, NotAMember
from app.core.db import main_session
from app.core.errors import AppError, Forbidden
from app.core.events import Event, Origin, originating
from app.core.throttle import CannotCount, Limit, Throttle, Throttled, current_counters

_LIMIT: Final = Limit(by=("account",), attempts=100, window_seconds=3600)
_THROTTLE: Final = Throttle("refusals", lambda _settings: (_LIMIT,))


@dataclass(frozen=True, kw_only=True)
class AccessRefused(Event):
    """``route`` is the pattern of the address; ``named`` the tenant as the request names it.

    ``tenant_id`` is there where the caller is a member. What a stranger has tried is the platform's
    to know.
    """

    type: ClassVar[str] = "access.refused"
    target: ClassVar[str] = "route"

    route: str
    method: str
    permission: str
    code: str
    named: str | None
    tenant_id: UUID | None


def record_refusal(error: Forbidden | NotAMember, permission: str) -> None:
    """Records what was refused to somebody; called after the transaction of what was refused."""
    caller: Caller | None = g.get("caller")
    if isinstance(error, NotAMember):
        _record(error, permission, error.user_id, error.session_id, None)
    elif caller is not None and not error.told:
        member_of = None if caller.role is None else caller.tenant_id
        _record(error, permission, caller.user_id, caller.session_id, member_of)


def _record(
    error: AppError, permission: str, user_id: UUID, session_id: UUID, tenant_id: UUID | None
) -> None:
    rule = request.url_rule
    event: Event = AccessRefused(
        route=request.path if rule is None else rule.rule,
        method=request.method,
        permission=permission,
        code=error.code,
        named=_named(),
        tenant_id=tenant_id,
    )
    try:
        current_counters().admit(_THROTTLE, account=str(user_id), address=None)
    except Throttled as throttled:
        if not throttled.first:
            return
        event = throttled.event
    except CannotCount:
        pass  # better one too many
    origin = Origin(
        user_id=user_id,
        session_id=session_id,
        address=request.remote_addr,
        request_id=g.request_id,
    )
    with originating(origin), main_session(user_id=user_id, tenant_id=tenant_id) as session:
        events.record(session, event)


def _named() -> str | None:
    named = (request.view_args or {}).get("tenant_id")
    return None if named is None else str(named)
