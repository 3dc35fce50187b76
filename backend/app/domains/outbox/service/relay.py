"""A relay's rounds: who told something, by the marks; who may have, by a slow walk; then sending.

Any number of relays may run. What they do costs as much as there is to send; tenants that tell
nothing cost nothing, for the walk keeps its pace however many there are.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import timedelta
from threading import Event
from typing import Final
from uuid import UUID

from redis.exceptions import RedisError

from app.core import clock
from app.core.db import platform_session
from app.core.heartbeat import Heartbeat
from app.core.logs import log_context
from app.core.marks import Marks
from app.core.outages import log_failure
from app.core.tasks import TenantClosed, TenantGone
from app.domains.jobs import service as jobs
from app.domains.outbox.service.recording import MAIN
from app.domains.outbox.service.relaying import Outboxes
from app.settings import Settings

logger = logging.getLogger(__name__)

# After Redis was away or emptied, one walk is this fast.
_HURRIED_PAUSE: Final = 0.025
_MOST_AT_ONCE: Final = 20
_LOOK_INTO_MAIN_EVERY: Final = 1.0
_PAGE: Final = 100
_LONGEST_PAUSE: Final = 5.0

# A page of the ids of tenants whose databases may be used, in their order, after the one given.
TenantsAfter = Callable[[UUID | None, int], Sequence[UUID]]


class Walk:
    """Through all tenants, again and again, at a pace that does not depend on their number."""

    def __init__(self, tenants_after: TenantsAfter, *, pause: float) -> None:
        self._tenants_after = tenants_after
        self._pause = pause
        self._next_at = time.monotonic()
        self._lanes = self._walk()
        self._hurried = True  # nobody knows what happened before the start

    def hurry(self) -> None:
        """The next walk is a fast one, from the beginning."""
        self._lanes = self._walk()
        self._hurried = True
        self._next_at = time.monotonic()

    def due(self, *, blind: bool) -> list[str]:
        """The lanes whose turn it is; ``blind``, because there are no marks to be told by."""
        pause = self._pause
        if blind or self._hurried:
            pause = min(pause, _HURRIED_PAUSE)
            self._next_at = min(self._next_at, time.monotonic() + pause)
        found: list[str] = []
        now = time.monotonic()
        while self._next_at <= now and len(found) < _MOST_AT_ONCE:
            self._next_at += pause
            lane = next(self._lanes, None)
            if lane is None:
                self._lanes, self._hurried = self._walk(), False
                break
            found.append(lane)
        self._next_at = max(self._next_at, now - pause)
        return found

    def _walk(self) -> Iterator[str]:
        last: UUID | None = None
        while page := self._tenants_after(last, _PAGE):
            yield from map(str, page)
            last = page[-1]


class Relay:
    """The rounds. ``run`` returns once it is told to stop and what is under way is sent."""

    def __init__(
        self, outboxes: Outboxes, marks: Marks, tenants_after: TenantsAfter, settings: Settings
    ) -> None:
        self._outboxes = outboxes
        self._marks = marks
        self._settings = settings
        self._heartbeat = Heartbeat(settings)
        self._walk = Walk(tenants_after, pause=settings.outbox_sweep_seconds)
        self._stopping = Event()
        self._under_way: set[str] = set()
        self._failures: dict[str, int] = {}
        self._not_before: dict[str, float] = {}
        self._main_at = time.monotonic()
        self._blind = False
        self._purged: tuple[str, set[str]] = ("", set())

    def run(self, stopping: Event) -> None:
        self._stopping = stopping
        with ThreadPoolExecutor(self._threads, thread_name_prefix="relay") as pool:
            while not stopping.wait(self._settings.outbox_poll_seconds):
                try:
                    self._round(pool)
                    self._heartbeat.beat()
                except Exception as error:  # noqa: BLE001  # a later round may go well
                    log_failure(logger, "this round failed", error)
                    stopping.wait(_LONGEST_PAUSE)

    @property
    def busy(self) -> bool:
        """Whether it is looking into some outbox just now."""
        return bool(self._under_way)

    @property
    def _threads(self) -> int:
        """A handler that is called in process needs a second connection to a tenant's database."""
        return min(
            self._settings.outbox_threads, max(1, self._settings.tenant_connection_budget // 2)
        )

    def _round(self, pool: ThreadPoolExecutor) -> None:
        for lane, mark in self._marked().items():
            self._begin(pool, lane, mark)
        now = time.monotonic()
        if now >= self._main_at:
            self._main_at = now + _LOOK_INTO_MAIN_EVERY
            self._begin(pool, MAIN, None)
        for lane in self._walk.due(blind=self._blind):
            self._begin(pool, lane, None)

    def _marked(self) -> dict[str, str]:
        try:
            marks, emptied = self._marks.read()
        except RedisError as error:
            if not self._blind:
                logger.warning("Redis is away; events take longer", extra={"reason": str(error)})
            self._blind = True
            return {}
        if emptied or self._blind:
            self._walk.hurry()
        self._blind = False
        return dict(marks)

    def _begin(self, pool: ThreadPoolExecutor, lane: str, mark: str | None) -> None:
        if lane in self._under_way or self._not_before.get(lane, 0.0) > time.monotonic():
            return
        self._under_way.add(lane)
        # The context holds the application that the thread works for.
        pool.submit(copy_context().run, self._work, lane, mark)

    def _work(self, lane: str, mark: str | None) -> None:
        with log_context(lane=lane):
            try:
                if self._emptied(lane) and mark is not None:
                    self._marks.clear(lane, mark)
            except RedisError:
                pass  # the mark stays, and costs one look
            except Exception as error:  # noqa: BLE001  # other lanes go on
                self._postpone(lane, error)
            else:
                self._failures.pop(lane, None)
                self._not_before.pop(lane, None)
            finally:
                self._under_way.discard(lane)

    def _emptied(self, lane: str) -> bool:
        """Sends all that there is; False where another relay does, or we are to stop."""
        while not self._stopping.is_set():
            try:
                sent = self._outboxes.send(lane)
            except (TenantGone, TenantClosed):
                return True  # the walk comes past when it is open again
            if sent.count and lane != MAIN:
                self._schedule_purge(lane)
            if not sent.more:
                return True
            if not sent.count:
                return False
        return False

    def _postpone(self, lane: str, error: Exception) -> None:
        failures = self._failures[lane] = self._failures.get(lane, 0) + 1
        pause = min(0.25 * 2.0 ** min(failures, 10), _LONGEST_PAUSE)
        self._not_before[lane] = time.monotonic() + pause
        logger.warning(
            "events not sent; they stay in the outbox",
            extra={"reason": f"{type(error).__name__}: {error}".partition("\n")[0]},
        )

    def _schedule_purge(self, lane: str) -> None:
        """One job for each day on which a tenant told something."""
        now = clock.now()
        day = now.date().isoformat()
        if self._purged[0] != day:
            self._purged = (day, set())
        if lane in self._purged[1]:
            return
        kept = timedelta(days=2 * self._settings.outbox_retention_days + 1)
        with platform_session() as session:
            jobs.schedule_once(
                session, "outbox.purge_tenant", slot=day, due_at=now + kept, tenant_id=UUID(lane)
            )
        self._purged[1].add(lane)
