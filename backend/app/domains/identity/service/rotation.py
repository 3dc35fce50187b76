"""Changing the key that signs, while every token that is good stays good.

A key is *next* before it signs, until every process and every holder of our key set knows it; then
*active*; then *retiring*, until the last token that it signed has expired; then it is gone. A row's
``updated_at`` is when it came into its state.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from app.core import clock, events
from app.core.db import MainSession
from app.core.secrets import SecretBox
from app.domains.identity import queries
from app.domains.identity.events import KeyRotated
from app.domains.identity.models import SigningKeyRow
from app.domains.identity.service.keys import new_key
from app.settings import Settings

# For clocks of processes that differ, and requests that are on their way.
MARGIN: Final = timedelta(seconds=60)

Action = Literal["make", "activate", "remove"]


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a key has to be *next*, and how long *retiring*."""

    published: timedelta
    retiring: timedelta

    @classmethod
    def of(cls, settings: Settings) -> "Pace":
        # A process signs with the old key for as long as it has not looked again.
        refresh = timedelta(seconds=settings.signing_key_refresh_seconds)
        cached = timedelta(seconds=settings.key_set_max_age_seconds)
        token = timedelta(seconds=settings.access_token_seconds)
        return cls(published=refresh + cached + MARGIN, retiring=token + refresh + MARGIN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a rotation does to a key, and from when on it may."""

    action: Action
    kid: str | None
    due_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    kid: str
    state: str
    since: datetime


def list_keys(session: MainSession) -> list[Key]:
    """Oldest first."""
    rows = sorted(queries.signing_keys(session), key=lambda row: row.created_at)
    return [Key(kid=row.kid, state=row.state, since=row.updated_at) for row in rows]


def plan(keys: Sequence[Key], pace: Pace, *, oldest: timedelta) -> list[Step]:
    """The steps that lie ahead, the next one first. A new key follows one of the age ``oldest``."""
    steps = [
        Step(action="remove", kid=key.kid, due_at=key.since + pace.retiring)
        for key in keys
        if key.state == "retiring"
    ]
    following = [key for key in keys if key.state == "next"]
    steps += [
        Step(action="activate", kid=key.kid, due_at=key.since + pace.published)
        for key in following[:1]
    ]
    steps += [
        Step(action="make", kid=None, due_at=key.since + oldest)
        for key in keys
        if key.state == "active" and not following
    ]
    return sorted(steps, key=lambda step: step.due_at)


def advance(
    session: MainSession, secrets: SecretBox, pace: Pace, *, oldest: timedelta
) -> list[Step]:
    """Takes every step that is due, and returns these; nothing where none is.

    Two at once take each step once: the table is locked.
    """
    rows = {row.kid: row for row in queries.signing_keys_for_change(session)}
    due = [
        step for step in plan(list_keys(session), pace, oldest=oldest) if step.due_at <= clock.now()
    ]
    return [_take(session, secrets, rows, step) for step in due]


def replace_all(session: MainSession, secrets: SecretBox) -> list[Step]:
    """A new key signs, and all others are gone: for a key that somebody else may have.

    Every access token is refused from then on, at the latest when a process looks again; refresh
    tokens are none of ours to sign, so clients go on with them.
    """
    now = clock.now()
    gone = queries.signing_keys_for_change(session)
    for row in gone:
        session.delete(row)
    session.flush()  # at no moment are two active: an index forbids it
    made = new_key(secrets, state="active")
    session.add(made)
    steps = [Step(action="remove", kid=row.kid, due_at=now) for row in gone]
    steps.append(Step(action="activate", kid=made.kid, due_at=now))
    for step in steps:
        events.record(session, KeyRotated(kid=step.kid or "", action=step.action))
    return steps


def _take(
    session: MainSession, secrets: SecretBox, rows: dict[str, SigningKeyRow], step: Step
) -> Step:
    kid = step.kid
    if kid is None:
        made = new_key(secrets, state="next")
        session.add(made)
        kid = made.kid
    elif step.action == "activate":
        for row in rows.values():
            if row.state == "active":
                row.state = "retiring"
        session.flush()  # at no moment are two active: an index forbids it
        rows[kid].state = "active"
    else:
        session.delete(rows[kid])
    events.record(session, KeyRotated(kid=kid, action=step.action))
    return Step(action=step.action, kid=kid, due_at=step.due_at)
