"""The verbs of due work; here those of who asks for it.

A row is written in the transaction that asks for the work. Whoever is told of it claims it for the
time of a lease, renews the lease while it works, and writes down how it went. A row whose lease
has run out is due again, so a job runs at least once, and not after its last attempt.
"""

from datetime import datetime
from typing import Any, cast
from uuid import UUID

from sqlalchemy import CursorResult, func
from sqlalchemy.dialects.postgresql import insert

from app.core import clock, ids
from app.core.db import MainSession, after_commit
from app.core.events import current_origin
from app.core.tasks import DEFINITIONS, NoTenantInMessage, hint
from app.domains.jobs.models import Job


def schedule(
    session: MainSession,
    name: str,
    *,
    due_at: datetime | None = None,
    tenant_id: UUID | None = None,
    **arguments: str,
) -> UUID:
    """Writes the job in the session's transaction; it runs at least once, as soon as it is due.

    Without ``due_at`` that is at once. The arguments are ids as text, never secrets. The
    application's role may schedule for no tenant but the session's.

    Raises:
        KeyError: nobody defined the task.
        NoTenantInMessage: a task of the tenant plane without a tenant.
    """
    job_id = ids.new_id()
    _write(session, job_id, name, None, due_at, tenant_id, arguments)
    return job_id


def schedule_once(
    session: MainSession,
    name: str,
    *,
    slot: str,
    due_at: datetime | None = None,
    tenant_id: UUID | None = None,
    **arguments: str,
) -> bool:
    """The same, unless the task has a job with this slot and tenant; True if it was written."""
    return _write(session, ids.new_id(), name, slot, due_at, tenant_id, arguments)


def _write(  # noqa: PLR0917  # the columns of one row
    session: MainSession,
    job_id: UUID,
    name: str,
    slot: str | None,
    due_at: datetime | None,
    tenant_id: UUID | None,
    arguments: dict[str, str],
) -> bool:
    definition = DEFINITIONS[name]
    if definition.plane == "tenant" and tenant_id is None:
        raise NoTenantInMessage(name)
    is_due = due_at is None or due_at <= clock.now()
    row = {
        "id": job_id,
        "name": name,
        "queue": definition.queue,
        "tenant_id": tenant_id,
        "slot": slot,
        # A slot's job is everybody's who has asked for it, so nobody's in particular.
        "asked_by": current_origin().person if slot is None else None,
        "arguments": arguments,
        "due_at": func.now() if due_at is None else due_at,
        "hinted_at": func.now() if is_due else None,
    }
    # No conflict target, which would need the right to read.
    statement = insert(Job).values(row).on_conflict_do_nothing()
    result = session.execute(statement, execution_options={"preserve_rowcount": True})
    written = bool(cast("CursorResult[Any]", result).rowcount)
    if written and is_due:
        after_commit(session, lambda: hint(job_id=job_id, name=name, queue=definition.queue))
    return written
