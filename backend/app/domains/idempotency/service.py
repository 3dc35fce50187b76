"""The verbs of keys: reserve, answer, give back, purge; `app.core.idempotency.Keys`."""

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from math import ceil
from typing import Any, Final, cast
from uuid import UUID

from sqlalchemy import ColumnElement, CursorResult, delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.core import clock, ids
from app.core.caller import Caller
from app.core.db import MainSession, main_session
from app.core.idempotency import KeyInUse, KeyReused, Reservation
from app.domains.idempotency.models import KeyColumns, MainKey, TenantKey
from app.domains.jobs import service as jobs
from app.settings import Settings
from app.tenancy.sessions import TenantSession

Key = type[MainKey] | type[TenantKey]

_DAY: Final = timedelta(days=1)


class DatabaseKeys:
    """Keys as rows of the database that the session is on."""

    def __init__(self, settings: Settings) -> None:
        self._lease = timedelta(seconds=settings.idempotency_lease_seconds)
        self._kept = timedelta(seconds=settings.idempotency_key_seconds)

    def reserve(
        self, session: Session, caller: Caller, *, key: bytes, fingerprint: bytes
    ) -> Reservation:
        """The key, new or taken over from one that died, or the answer that it has.

        Raises:
            KeyInUse, KeyReused: it is another's, or another request's.
        """
        if isinstance(session, TenantSession):
            self._promise_purge(session.location.tenant_id)
        model, now = _model(session), clock.now()
        own = _own(model, caller, key)
        session.execute(delete(model).where(*own, model.expires_at <= now))
        row = {
            "id": ids.new_id(),
            "user_id": caller.user_id,
            "key_hash": key,
            "fingerprint": fingerprint,
            "lease_ends_at": now + self._lease,
            "expires_at": now + self._kept,
        }
        if model is MainKey:
            row["tenant_id"] = caller.tenant_id
        taken = session.scalar(
            insert(model).values(row).on_conflict_do_nothing().returning(model.id)
        )
        if taken is not None:
            return self._held(taken, 1)
        return self._repeated(session, own, fingerprint)

    def renew(self, session: Session, held: Reservation) -> None:
        _change(session, held, lease_ends_at=clock.now() + self._lease)

    def answer(
        self, session: Session, held: Reservation, *, answer: str, content: bytes | None
    ) -> None:
        """Raises KeyInUse where another has taken the key over."""
        if not _change(session, held, answer=answer, content=content):
            raise KeyInUse

    def give_back(self, session: Session, held: Reservation, *, forget: bool) -> None:
        """Forgets the key, or leaves it to the next attempt; not one that has an answer."""
        if forget:
            model = _model(session)
            session.execute(delete(model).where(*_running(model, held)))
        else:
            _change(session, held, lease_ends_at=clock.now())

    def _repeated(
        self, session: Session, own: Sequence[ColumnElement[bool]], fingerprint: bytes
    ) -> Reservation:
        found = session.scalar(select(_model(session)).where(*own).with_for_update())
        row = cast("KeyColumns | None", found)
        if row is None:  # given back at this moment
            raise KeyInUse
        if row.fingerprint != fingerprint:
            raise KeyReused
        if row.answer is not None:
            return self._held(row.id, row.attempt, row.content, row.answer)
        left = (row.lease_ends_at - clock.now()) / timedelta(seconds=1)
        if left > 0:
            raise KeyInUse(wait=ceil(left))
        row.attempt += 1
        row.lease_ends_at = clock.now() + self._lease
        return self._held(row.id, row.attempt)

    def _held(
        self, row_id: UUID, attempt: int, content: bytes | None = None, answer: str | None = None
    ) -> Reservation:
        seconds = self._lease / timedelta(seconds=1)
        return Reservation(
            id=row_id, attempt=attempt, lease_seconds=seconds, content=content, answer=answer
        )

    def _promise_purge(self, tenant_id: UUID) -> None:
        """Has the tenant's keys of today deleted when the last of them has expired."""
        today = clock.now().date()
        with main_session(tenant_id=tenant_id) as main:
            jobs.schedule_once(
                main,
                "idempotency.purge_tenant",
                slot=today.isoformat(),
                due_at=datetime.combine(today, time(), UTC) + _DAY + self._kept,
                tenant_id=tenant_id,
            )


def purge(session: Session) -> int:
    """Deletes the keys that have expired; how many."""
    model = _model(session)
    result = session.execute(delete(model).where(model.expires_at <= clock.now()))
    return int(cast("CursorResult[Any]", result).rowcount)


def _model(session: Session) -> Key:
    return MainKey if isinstance(session, MainSession) else TenantKey


def _own(model: Key, caller: Caller, key: bytes) -> tuple[ColumnElement[bool], ...]:
    own = (model.user_id == caller.user_id, model.key_hash == key)
    if issubclass(model, MainKey):
        return (*own, model.tenant_id.is_not_distinct_from(caller.tenant_id))
    return own


def _running(model: Key, held: Reservation) -> tuple[ColumnElement[bool], ...]:
    return model.id == held.id, model.attempt == held.attempt, model.answer.is_(None)


def _change(session: Session, held: Reservation, **values: object) -> bool:
    """Whether the key was still in these hands."""
    model = _model(session)
    result = session.execute(update(model).where(*_running(model, held)).values(**values))
    return bool(cast("CursorResult[Any]", result).rowcount)
