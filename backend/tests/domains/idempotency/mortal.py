"""The API as it is, but that a worker dies, by the file ``die``, before or behind a commit.

It names the moment: of the transaction that writes a key's answer, ``before_commit`` or
``after_commit``; ``registered``, once a tenant is registered that has no database yet.
"""

import os
import signal
from pathlib import Path
from typing import Any

from sqlalchemy import event, inspect
from sqlalchemy.orm import ORMExecuteState, Session, UOWTransaction

from app.domains.idempotency.models import MainKey, TenantKey
from app.domains.tenants.models import Tenant
from wsgi import app

__all__ = ["app"]

_DIE = Path(os.environ["DIE"])


@event.listens_for(Session, "do_orm_execute")
def _look(state: ORMExecuteState) -> None:
    if state.is_update and state.bind_mapper in {inspect(MainKey), inspect(TenantKey)}:
        written: dict[Any, Any] = getattr(state.statement, "_values", None) or {}
        names = {getattr(column, "key", None) for column in written}
        state.session.info["answers"] = "answer" in names


@event.listens_for(Session, "after_flush")
def _look_for_tenants(session: Session, _: UOWTransaction) -> None:
    if any(isinstance(made, Tenant) for made in session.new):
        session.info["registers"] = True


def _end(session: Session, moment: str, *, of: str = "answers") -> None:
    if session.info.get(of) and _DIE.exists() and _DIE.read_text() == moment:
        _DIE.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


@event.listens_for(Session, "before_commit")
def _before(session: Session) -> None:
    _end(session, "before_commit")


@event.listens_for(Session, "after_commit")
def _after(session: Session) -> None:
    _end(session, "after_commit")
    _end(session, "registered", of="registers")
