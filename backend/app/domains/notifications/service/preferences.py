"""How somebody wants to be told of what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert

from app.core import clock
from app.core.db import MainSession
from app.core.errors import Unprocessable
from app.domains.notifications import policy, queries
from app.domains.notifications.models import NotificationPreference


@dataclass(frozen=True, slots=True)
class Preference:
    kind: str
    in_app: bool
    mail: bool
    fixed: bool


def list_preferences(session: MainSession, *, user_id: UUID) -> Sequence[Preference]:
    """Every kind, with the user's own wish or what everybody has without one."""
    wishes = queries.preferences(session, user_id=user_id)
    found = []
    for name, kind in policy.KINDS.items():
        wanted = policy.channels(kind, wishes.get(name))
        found.append(Preference(name, wanted.in_app, wanted.mail, kind.fixed))
    return found


def change_preferences(
    session: MainSession, *, user_id: UUID, changes: Sequence[Mapping[str, Any]]
) -> Sequence[Preference]:
    """Each change names a kind, and says ``in_app``, ``mail`` or both; what it leaves out stays.

    Raises:
        Unprocessable: a kind is fixed.
    """
    present = {each.kind: each for each in list_preferences(session, user_id=user_id)}
    fixed = {change["kind"] for change in changes if present[change["kind"]].fixed}
    if fixed:
        message = f"It concerns the safety of your account, and is always told: {min(fixed)}."
        raise Unprocessable(message, errors={"items": [message]})
    for change in changes:
        former = present[change["kind"]]
        channels = {
            "in_app": change.get("in_app", former.in_app),
            "mail": change.get("mail", former.mail),
        }
        _write(session, user_id, former.kind, channels)
    return list_preferences(session, user_id=user_id)


def _write(session: MainSession, user_id: UUID, kind: str, channels: dict[str, bool]) -> None:
    now = clock.now()
    row = {"user_id": user_id, "kind": kind, "created_at": now, "updated_at": now}
    statement = insert(NotificationPreference).values(row | channels)
    session.execute(
        statement.on_conflict_do_update(
            index_elements=[NotificationPreference.user_id, NotificationPreference.kind],
            set_=channels | {"updated_at": now},
        )
    )
