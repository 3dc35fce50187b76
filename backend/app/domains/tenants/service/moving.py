"""A tenant's way from one server to another, while it is served.

Copied as it is; then, read-only for a moment, the rows that changed since, and the proof that both
sides hold the same. Its role is shut out where it was before the ledger says where it goes, in one
hold of the tenant's lock: nobody can write to a place that the ledger has left. What goes wrong
before that moment leaves the tenant where it was; what goes wrong after it, where it went.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import psycopg
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from app.core import clock, events
from app.core.db import MainSession, platform_session
from app.core.errors import AppError, NotFound
from app.domains.tenants import queries
from app.domains.tenants.errors import CannotMove, MoveFailed, WrongState
from app.domains.tenants.events import TenantMoved
from app.domains.tenants.models import MoveStep, TenantDatabase, TenantMove, TenantState
from app.domains.tenants.service import read_only, servers, transitions
from app.domains.tenants.service.read_only import Hold
from app.tenancy.copying import CopyDiffers
from app.tenancy.inspection.drift import SchemaDiffers
from app.tenancy.locations import TenantLocation
from app.tenancy.manager import TenantDatabaseManager
from app.tenancy.moves import Passage
from app.tenancy.server import AlreadyClaimed

logger = logging.getLogger(__name__)

LONGEST_HOLD: Final = timedelta(minutes=5)
_MOVABLE: Final = (TenantState.ACTIVE, TenantState.SUSPENDED)
_EXPECTED: Final = (AppError, psycopg.Error, SQLAlchemyError, CopyDiffers, SchemaDiffers)

# What `move` tells, in this order.
STEPS: Final = (
    "preparing",
    "copying",
    "following",
    "read-only",
    "verifying",
    "switching",
    "cleaning",
)
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Moved:
    """Rows by table, the same on both sides; seconds for which nothing could be written."""

    tenant_id: UUID
    source: str
    target: str
    generation: int
    rows: dict[str, int]
    read_only_seconds: float


@dataclass(frozen=True, slots=True)
class UnfinishedMove:
    """``elsewhere`` is the server with the copy that the ledger does not name."""

    id: UUID
    tenant_id: UUID
    database: str
    elsewhere: str
    step: MoveStep
    held_until: datetime | None


def move(
    manager: TenantDatabaseManager,
    *,
    tenant_id: UUID,
    target: str,
    longest: timedelta = LONGEST_HOLD,
    tell: Tell = lambda _: None,
) -> Moved:
    """Moves one tenant; ``tell`` gets the name of each step as it begins.

    Raises:
        NotFound, WrongState, CannotMove: there is nothing to move, or not there.
        AlreadyClaimed: another move, or a migration, is under way.
        MoveFailed: it is served where it was.
    """
    with _alone(manager):
        _recover_all(manager, tenant_id)
        source, move_id = _begin(tenant_id, target)
        there = replace(source, server=target, generation=source.generation + 1)
        passage = Passage(manager, source, there)
        try:
            moved = _carry_over(manager, passage, move_id, longest, tell)
        except _EXPECTED as error:
            logger.exception("move failed", extra={"tenant": str(tenant_id)})
            _take_back(manager, there, move_id, error)
            raise MoveFailed(f"The tenant stays on {source.server}: {_words(error)}") from error
        except BaseException as error:
            with suppress(Exception):
                _take_back(manager, there, move_id, error)
            raise
        tell("cleaning")
        _clean(manager, source, move_id)
        return moved


def recover(manager: TenantDatabaseManager, *, tenant_id: UUID) -> str:
    """Ends a move whose process died; says how."""
    try:
        with _alone(manager):
            return _recover_all(manager, tenant_id) or "over by now"
    except AlreadyClaimed:
        return "left alone: a move or a migration is under way"


def unfinished(session: MainSession) -> Sequence[UnfinishedMove]:
    """Moves that are under way, or whose process died."""
    rows = session.execute(
        select(TenantMove, TenantDatabase.database)
        .join(TenantDatabase, TenantDatabase.tenant_id == TenantMove.tenant_id)
        .where(TenantMove.active)
        .order_by(TenantMove.id)
    )
    return [
        UnfinishedMove(
            id=row.id,
            tenant_id=row.tenant_id,
            database=database,
            elsewhere=row.target if row.step == MoveStep.COPYING else row.source,
            step=MoveStep(row.step),
            held_until=row.held_until,
        )
        for row, database in rows
    ]


def where(session: MainSession, tenant_id: UUID) -> str:
    """The server that the tenant lies on.

    Raises:
        NotFound: there is no such tenant.
    """
    location = queries.location(session, tenant_id)
    if location is None:
        raise NotFound("There is no such tenant.")
    return location.server


def newest(session: MainSession, *, limit: int) -> Sequence[TenantMove]:
    return session.scalars(select(TenantMove).order_by(TenantMove.id.desc()).limit(limit)).all()


def tenants_on(session: MainSession, server: str) -> Sequence[UUID]:
    """Those on the server that can be moved, oldest first."""
    return [
        entry.tenant_id
        for entry in queries.with_database(session)
        if entry.location.server == server and entry.state in _MOVABLE
    ]


@contextmanager
def _alone(manager: TenantDatabaseManager) -> Iterator[None]:
    """One move at a time, and none during a migration of the fleet, which goes by locations."""
    with manager.server.claimed(manager.installation.id, "fleet", grace_ms=2_000):
        yield


def _begin(tenant_id: UUID, target: str) -> tuple[TenantLocation, UUID]:
    with platform_session() as session:
        tenant = queries.tenant_for_change(session, tenant_id)
        source = queries.location(session, tenant_id)
        if tenant is None or source is None:
            raise NotFound("There is no such tenant.")
        if tenant.state not in _MOVABLE:
            raise WrongState(f"A tenant that is {tenant.state} cannot be moved.")
        [*found] = [each for each in servers.loads(session) if each.name == target]
        if not found:
            raise CannotMove(f"There is no server {target!r}.")
        if target == source.server:
            raise CannotMove(f"The tenant lies on {target} already.")
        if not found[0].active:
            raise CannotMove(f"The server {target} is draining.")
        move_ = TenantMove(tenant_id=tenant_id, source=source.server, target=target)
        session.add(move_)
        session.flush()  # its id
    return replace(source, spare_id=None), move_.id


def _carry_over(
    manager: TenantDatabaseManager, passage: Passage, move_id: UUID, longest: timedelta, tell: Tell
) -> Moved:
    tenant_id = passage.source.tenant_id
    tell("preparing")
    with passage.prepared() as copying:
        tell("copying")
        copying.begin()
        tell("following")
        copying.follow()
        tell("read-only")
        start = time.monotonic()
        # Noted before it begins: whoever ends the move of a dead process ends its hold too.
        until = clock.now() + longest
        _note(move_id, held_until=until)
        with read_only.held_until(manager, tenant_id=tenant_id, until=until) as hold:
            copying.follow()
            tell("verifying")
            rows = copying.finish()
            tell("switching")
            with passage.shut_out():
                _switch(passage, move_id, hold, rows)
            manager.pool.close_tenant(passage.source.key)
        # The hold's end has let the tenant's role in where it lies now.
        seconds = time.monotonic() - start
    _note(move_id, read_only_seconds=seconds)
    return Moved(
        tenant_id=tenant_id,
        source=passage.source.server,
        target=passage.target.server,
        generation=passage.target.generation,
        rows=rows,
        read_only_seconds=seconds,
    )


def _switch(passage: Passage, move_id: UUID, hold: Hold, rows: dict[str, int]) -> None:
    source, target = passage.source, passage.target
    with platform_session() as session:
        read_only.require_held(session, hold)
        row = queries.database(session, source.tenant_id)
        if row is None or (row.server, row.generation) != (source.server, source.generation):
            raise CannotMove("The tenant was moved by somebody else.")
        row.server, row.generation = target.server, target.generation
        done = session.get_one(TenantMove, move_id)
        done.step, done.verified = MoveStep.SWITCHED, rows
        moved = TenantMoved(
            tenant_id=source.tenant_id,
            from_server=source.server,
            to_server=target.server,
            generation=target.generation,
        )
        events.record(session, moved)
        transitions.promise(session, source.tenant_id)


def _take_back(
    manager: TenantDatabaseManager, there: TenantLocation, move_id: UUID, error: BaseException
) -> None:
    """Before the switch; after it the move has succeeded, whatever else did not."""
    with platform_session() as session:
        failed = session.get_one(TenantMove, move_id)
        if failed.step != MoveStep.COPYING:
            return
    with suppress(AppError, psycopg.Error):  # else the reconciler finds it
        manager.drop_tenant_database(there)
    _end(move_id, MoveStep.FAILED, _words(error))


def _clean(manager: TenantDatabaseManager, left: TenantLocation, move_id: UUID) -> None:
    """What cannot be dropped now, because its server is away, is the reconciler's."""
    try:
        manager.drop_tenant_database(left)
    except (AppError, psycopg.Error):
        logger.warning("what a move left could not be dropped", exc_info=True)
    else:
        _end(move_id, MoveStep.DONE, None)


def _recover_all(manager: TenantDatabaseManager, tenant_id: UUID) -> str | None:
    """Nobody else is at it: the claim is ours."""
    said = None
    with platform_session() as session:
        found = [each for each in unfinished(session) if each.tenant_id == tenant_id]
        location = queries.location(session, tenant_id)
    if location is None:
        return None
    for each in found:
        manager.drop_tenant_database(replace(location, server=each.elsewhere, spare_id=None))
        if each.step == MoveStep.SWITCHED:
            _end(each.id, MoveStep.DONE, None)
            said = "finished"
        else:
            _end(each.id, MoveStep.FAILED, "its process died")
            said = "taken back"
        _release(each)
        transitions.settle(manager, location)
    return said


def _release(move_: UnfinishedMove) -> None:
    """Ends the hold that the dead process left, and no other."""
    with platform_session() as session:
        queries.tenant_for_change(session, move_.tenant_id)
        row = queries.database(session, move_.tenant_id)
        if row is not None and row.held_until == move_.held_until:
            row.held_until = None
        transitions.promise(session, move_.tenant_id)


def _note(move_id: UUID, **columns: object) -> None:
    with platform_session() as session:
        row = session.get_one(TenantMove, move_id)
        for name, value in columns.items():
            setattr(row, name, value)


def _end(move_id: UUID, step: MoveStep, failure: str | None) -> None:
    _note(move_id, step=step, failure=failure, finished_at=clock.now())


def _words(error: BaseException) -> str:
    """What people may read: of a server's words only the first line, which shows no row."""
    if isinstance(error, AppError):
        return error.detail
    if isinstance(error, psycopg.Error):
        return f"{type(error).__name__}: {error.diag.message_primary or 'connection lost'}"
    return f"{type(error).__name__}: {error}"
