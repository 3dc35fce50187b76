"""Notifications are made of events: whom each concerns, in which words, in the list or by mail."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import insert

from app.core import clock, ids, letters
from app.core.cloudevents import CloudEvent
from app.core.db import MainSession
from app.domains.identity.service import mails, users
from app.domains.jobs import service as jobs
from app.domains.notifications import policy, queries
from app.domains.notifications.models import Notification
from app.domains.notifications.policy import Kind
from app.domains.tenants.service import directory, members

_MANAGERS: Final = frozenset({"owner", "admin"})


def notify(session: MainSession, event: CloudEvent) -> None:
    """Tells those whom it concerns, but not whoever did it: except where it may be another."""
    name = policy.kind_of(event.type)
    kind = policy.KINDS[name]
    if not policy.is_news(name, event.data):
        return
    concerned = set(_concerned(session, kind, event))
    if not kind.fixed:
        concerned.discard(event.actorid)
    people = users.get_users(session, sorted(concerned))
    wishes = queries.preferences_for(session, kind=name, user_ids=people)
    title, text = letters.words(f"notifications/{name}", **_values(session, kind, event))
    for user_id in people:
        wanted = policy.channels(kind, wishes.get(user_id))
        if wanted.in_app or wanted.mail:
            row = {
                "id": ids.new_id(),
                "user_id": user_id,
                "tenant_id": event.tenantid,
                "kind": name,
                "subject": event.subject,
                "title": title,
                "text": text,
                "listed": wanted.in_app,
            }
            _write(session, row, mail=wanted.mail)


def _concerned(session: MainSession, kind: Kind, event: CloudEvent) -> Iterable[UUID]:
    if kind.whom != "managers":
        person = event.data.get(kind.whom)
        return [] if person is None else [UUID(person)]
    if event.tenantid is None:
        return []
    return [
        member.user_id
        for member in members.all_members(session, event.tenantid)
        if member.active and member.role in _MANAGERS
    ]


def _values(session: MainSession, kind: Kind, event: CloudEvent) -> dict[str, Any]:
    """What a text may speak of: names are as they are now."""
    tenant = None if event.tenantid is None else directory.name_of(session, event.tenantid)
    values = event.data | {"actor": _actor(session, kind, event), "tenant": tenant or "A tenant"}
    if "purge_at" in values:
        values["purge_at"] = mails.shown(datetime.fromisoformat(values["purge_at"]))
    return values


def _actor(session: MainSession, kind: Kind, event: CloudEvent) -> str:
    """Who accepts an invitation has no session, and is whom the event is about."""
    about = None if kind.whom == "user_id" else event.data.get("user_id")
    actor_id = event.actorid or (about and UUID(about))
    found = users.get_users(session, [actor_id] if actor_id else [])
    return next((person.name for person in found.values()), "Somebody")


def _write(session: MainSession, row: dict[str, Any], *, mail: bool) -> None:
    """Not as an object: its session does not see what is another person's."""
    now = clock.now()
    session.execute(insert(Notification).values(row | {"created_at": now, "updated_at": now}))
    if mail:
        jobs.schedule(
            session,
            "notifications.send_mail",
            tenant_id=row["tenant_id"],
            user_id=str(row["user_id"]),
            notification_id=str(row["id"]),
        )
