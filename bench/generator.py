"""Sends requests at a constant rate, whatever becomes of them, and tells how long each took.

A program of its own, so that what it measures cannot slow it down. It reads a plan (see `Plan`)
as JSON from standard input, and writes JSON to standard output: for each request when it was due,
how long after that its answer was complete, its status, and whether it wrote.

Requests are sent when they are due (open loop), on a connection of their own where none is idle. An
answer's time counts from when its request was *due*, so that a server which stands still for a
second is seen by all who would have come in that second, and not by those few who were waiting.
With `clients` in place of a rate, that many send without a pause instead (closed loop): the most
that a server can do, and no measure of its times.
"""

import asyncio
import json
import random
import resource
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

# Stands for a number in the requests that write, and is as long as it.
MARK: Final = b"@@@@@@@@"
# In place of a status: the connection ended before the answer did; the answer did not come in time.
BROKEN: Final = 0
LATE: Final = -1

# Servers close idle connections (gunicorn after two seconds): none is used that may be closing.
_IDLE_SECONDS: Final = 1.0
_MOST_CONNECTIONS: Final = 2000
_SWEEP_SECONDS: Final = 0.25


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to send where; each request is whole, and one in `1 / write_share` is of `writes`."""

    host: str
    port: int
    seconds: float
    reads: list[str]
    writes: list[str] = field(default_factory=list)
    write_share: float = 0.0
    rate: float | None = None
    clients: int = 8
    seed: int = 1
    patience: float = 10.0


@dataclass(slots=True, eq=False)
class Shot:
    """A request: when it was due, and whether it writes."""

    due: float
    writes: bool
    payload: bytes
    wire: "Wire | None" = None


class Wire(asyncio.Protocol):
    """A kept-alive connection with at most one request on it."""

    def __init__(self, done: Callable[["Wire", Shot, int], None]) -> None:
        self._done = done
        self._transport: Any = None
        self._shot: Shot | None = None
        self._buffer = b""
        self._left = 0
        self._status = BROKEN
        self._last = False
        self.open = False
        self.idle_since = 0.0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self.open = True

    def send(self, shot: Shot) -> None:
        self._shot, shot.wire = shot, self
        self._buffer, self._left, self._status = b"", -1, BROKEN
        self._transport.write(shot.payload)

    def data_received(self, data: bytes) -> None:
        if self._left < 0:
            self._buffer += data
            head, end, body = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            self._read_head(head)
            data = body
        self._left -= len(data)
        if self._left <= 0:
            self._end(self._status)

    def _read_head(self, head: bytes) -> None:
        first, _, rest = head.lower().partition(b"\r\n")
        self._status = int(first.split(b" ", 2)[1])
        self._left = int(rest.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
        self._last = b"connection: close" in rest

    def connection_lost(self, _error: Exception | None) -> None:
        self.open = False
        self._end(BROKEN)

    def give_up(self) -> None:
        self.open = False
        self._transport.abort()
        self._end(LATE)

    def close(self) -> None:
        self.open = False
        self._transport.close()

    def _end(self, status: int) -> None:
        shot, self._shot = self._shot, None
        if shot is None:
            return
        if self._last and self.open:
            self.close()
        self._done(self, shot, status)


class Generator:
    """One run of a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.samples: list[tuple[float, float, int, bool]] = []
        self.lags: list[float] = []
        self._loop = asyncio.get_running_loop()
        self._chance = random.Random(plan.seed)
        self._reads = [each.encode("latin-1") for each in plan.reads]
        self._writes = [each.encode("latin-1") for each in plan.writes]
        self._idle: list[Wire] = []
        self._opening: set[asyncio.Task[None]] = set()
        self._waiting: deque[Shot] = deque()
        # In the order in which they were due.
        self._pending: dict[int, Shot] = {}
        self._connections = 0
        self._number = 0
        self._over = asyncio.Event()
        self._start = 0.0

    async def run(self) -> None:
        self._start = self._loop.time() + 0.05
        sweeping = self._loop.create_task(self._sweep())
        if self.plan.rate is None:
            for _ in range(self.plan.clients):
                self._fire(self._loop.time())
        else:
            self._loop.call_at(self._start, self._fire_due)
        await self._over.wait()
        sweeping.cancel()

    # Sending.

    def _fire_due(self) -> None:
        now = self._loop.time()
        while (due := self._next_due()) <= now:
            if due - self._start >= self.plan.seconds:
                self._end_if_done()
                return
            self.lags.append(now - due)
            self._fire(due)
        self._loop.call_at(due, self._fire_due)

    def _next_due(self) -> float:
        return self._start + self._number / (self.plan.rate or 1)

    def _fire(self, due: float) -> None:
        shot = self._shot(due)
        self._pending[id(shot)] = shot
        while self._idle:
            wire = self._idle.pop()
            if wire.open and due - wire.idle_since < _IDLE_SECONDS:
                wire.send(shot)
                return
            self._drop(wire)
        if self._connections < _MOST_CONNECTIONS:
            self._open(shot)
        else:
            self._waiting.append(shot)

    def _shot(self, due: float) -> Shot:
        self._number += 1
        if self._writes and self._chance.random() < self.plan.write_share:
            payload = self._chance.choice(self._writes)
            return Shot(due, True, payload.replace(MARK, b"%08d" % self._number))
        return Shot(due, False, self._chance.choice(self._reads))

    def _open(self, shot: Shot) -> None:
        self._connections += 1
        task = self._loop.create_task(self._connect(shot))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _connect(self, shot: Shot) -> None:
        try:
            _, wire = await self._loop.create_connection(
                lambda: Wire(self._done), self.plan.host, self.plan.port
            )
        except OSError:
            self._connections -= 1
            self._note(shot, BROKEN)
            return
        if id(shot) in self._pending:
            wire.send(shot)
        else:  # it was given up meanwhile
            self._rest(wire)

    # What becomes of it.

    def _done(self, wire: Wire, shot: Shot, status: int) -> None:
        if wire.open:
            self._rest(wire)
        else:
            self._connections -= 1
        self._note(shot, status)
        if self._waiting and self._connections < _MOST_CONNECTIONS:
            self._open(self._waiting.popleft())

    def _rest(self, wire: Wire) -> None:
        if self._waiting:
            wire.send(self._waiting.popleft())
            return
        wire.idle_since = self._loop.time()
        self._idle.append(wire)

    def _drop(self, wire: Wire) -> None:
        if wire.open:
            wire.close()
        self._connections -= 1

    def _note(self, shot: Shot, status: int) -> None:
        if self._pending.pop(id(shot), None) is None:
            return
        now = self._loop.time()
        since = round(1000 * (shot.due - self._start), 1)
        self.samples.append((since, round(1000 * (now - shot.due), 2), status, shot.writes))
        if self.plan.rate is None and now - self._start < self.plan.seconds:
            self._loop.call_soon(self._fire, now)
        else:
            self._end_if_done()

    def _end_if_done(self) -> None:
        over = self._loop.time() - self._start >= self.plan.seconds
        sent_all = self.plan.rate is None or self._next_due() - self._start >= self.plan.seconds
        if over and sent_all and not self._pending:
            self._over.set()

    async def _sweep(self) -> None:
        """Gives up what is late: a server that never answers ends no run."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            late = self._loop.time() - self.plan.patience
            for shot in list(self._pending.values()):
                if shot.due > late:
                    break
                if shot.wire is not None:
                    shot.wire.give_up()
                else:
                    self._forget(shot)
            self._end_if_done()

    def _forget(self, shot: Shot) -> None:
        if shot in self._waiting:
            self._waiting.remove(shot)
        self._note(shot, LATE)


async def run(plan: Plan) -> dict[str, Any]:
    """What happened; ``lags`` say by how much the generator itself was late."""
    generator = Generator(plan)
    await generator.run()
    lags = sorted(generator.lags) or [0.0]
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "samples": generator.samples,
        "lag_p99_ms": round(1000 * lags[int(0.99 * (len(lags) - 1))], 2),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 2),
    }


if __name__ == "__main__":
    json.dump(asyncio.run(run(Plan(**json.load(sys.stdin)))), sys.stdout)
