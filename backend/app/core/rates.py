"""How many requests each user, tenant and client address may send: one count over all processes.

Every route takes part that does not state ``limited=False``. A request is counted once, in one
question to Redis that all of its limits answer together: what one of them refuses, none counts.

A log of each request, as `core.throttle` keeps of attempts, would grow with the limit. Here the
window is cut into sixty steps and a hash holds a number for each, so that a counter has about half
a kilobyte, whatever the limit. A request leaves the count when its whole step has left the window:
up to a sixtieth of the window late, never early. So no window holds more than the limit.

These limits keep one customer from slowing the others; no secret depends on them. While Redis
cannot count, requests pass uncounted, and the figures and the log say so.
"""

import logging
import time
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from math import ceil
from threading import Lock, local
from typing import Final, cast

from flask import Flask, Response, current_app, g, request
from redis import Connection, Redis
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import NoScriptError, RedisError

from app.core.caller import Caller
from app.core.errors import TooManyRequests
from app.core.redis import connect
from app.core.throttle import Counters, site_of
from app.settings import Settings

logger = logging.getLogger(__name__)

_STEPS: Final = 60
_MICROSECONDS: Final = 1_000_000
# How long Redis is left alone after it failed: one request in so many seconds waits for it.
_PAUSE_SECONDS: Final = 5.0
# What is counted: names of limits, and whose requests each of them counts.
Subjects = tuple[tuple[str, str], ...]

# KEYS: one hash per limit: "n" requests up to step "at", and how many of them fell into each step
# of the window. ARGV: the length of a step, then each limit's requests. Times are the server's, in
# microseconds. Answers the limit that refuses longest and for how long, then what is left of each.
_COUNT: Final = f"""
local steps, length = {_STEPS}, tonumber(ARGV[1])
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local step = math.floor(now / length)
local counts, answer = {{}}, {{0, 0}}
for limit, key in ipairs(KEYS) do
  local kept = redis.call('HMGET', key, 'n', 'at', step % (steps + 1))
  local n, at, here = tonumber(kept[1] or 0), tonumber(kept[2] or 0), tonumber(kept[3] or 0)
  if at < step - steps then
    redis.call('DEL', key)
    n, here = 0, 0
  elseif at < step then
    for each = at + 1, step do
      local slot = each % (steps + 1)
      n = n - (redis.call('HGET', key, slot) or 0)
      redis.call('HDEL', key, slot)
    end
    here = 0
  end
  if at < step then
    redis.call('HSET', key, 'n', n, 'at', step)
    redis.call('PEXPIRE', key, math.ceil((steps + 2) * length / 1000))
  end
  local left = ARGV[limit + 1] - n
  if left <= 0 then
    local wait, each = 0, step - steps
    while left <= 0 and each <= step do
      left = left + (redis.call('HGET', key, each % (steps + 1)) or 0)
      wait = (each + steps + 1) * length - now
      each = each + 1
    end
    if wait > answer[2] then answer[1], answer[2] = limit, wait end
    left = 0
  end
  counts[limit], answer[limit + 2] = {{n + 1, here + 1}}, left
end
if answer[1] > 0 then return table.concat(answer, ' ') end
for limit, key in ipairs(KEYS) do
  redis.call('HSET', key, 'n', counts[limit][1], step % (steps + 1), counts[limit][2])
  answer[limit + 2] = answer[limit + 2] - 1
end
return table.concat(answer, ' ')
"""


class RateLimited(TooManyRequests):
    """A user, a tenant or a client address sent more requests than it may.

    Repeat the request after the seconds in Retry-After. RateLimit says which limit it was, and
    what is left of the others.
    """

    code = "rate_limited"

    def __init__(self, limit: str, *, wait: int) -> None:
        super().__init__(f"Too many requests of this {limit}; wait as long as Retry-After says.")
        self.retry_after = wait


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What was found for one request: ``left`` of each limit; ``refused`` by one, for ``wait``."""

    left: dict[str, int]
    refused: str | None = None
    wait: int = 0


class Rates:
    """The limits of this installation, and the question to Redis."""

    def __init__(self, redis: Redis, counters: Counters, settings: Settings) -> None:
        self.redis = redis
        self._script = redis.register_script(_COUNT)
        self._window = settings.request_window_seconds
        self._limits = {
            "user": settings.requests_per_user,
            "tenant": settings.requests_per_tenant,
            "address": settings.requests_per_address,
        }
        self._pause = Pause()
        self._key = partial(counters.key, "requests")
        self._own = local()
        self._packer = self._new_connection()
        self._policy = cache(self._said)
        self._command = lru_cache(maxsize=4096)(self._packed)

    def count(self, subjects: dict[str, str]) -> Counted | None:
        """Counts one request of these subjects, by name of limit; None where nobody counts."""
        if not self._pause.may_ask():
            return None
        try:
            answer = self._ask(tuple(subjects.items()))
        except RedisError as error:
            self._pause.begin(error)
            return None
        self._pause.end()
        refusing, wait, *left = map(int, cast("str", answer).split())
        found = dict(zip(subjects, left, strict=True))
        if not refusing:
            return Counted(left=found)
        seconds = ceil(wait / _MICROSECONDS)
        return Counted(left=found, refused=list(subjects)[refusing - 1], wait=seconds)

    def _ask(self, subjects: Subjects) -> object:
        """By a connection of the thread's own: the client's way to one takes twice as long."""
        try:
            connection = self._own.connection
        except AttributeError:
            connection = self._own.connection = self._new_connection()
        try:
            connection.send_packed_command([self._command(subjects)], check_health=False)
            return connection.read_response()
        except (NoScriptError, ConnectionLost):  # a server, or a connection, that is new
            keys, arguments = self._asked(subjects)
            return self._script(keys=keys, args=arguments)

    def _asked(self, subjects: Subjects) -> tuple[list[str], list[int]]:
        step = self._window * _MICROSECONDS // _STEPS
        keys = [self._key(name, each) for name, each in subjects]
        return keys, [step, *(self._limits[name] for name, _ in subjects)]

    def _packed(self, subjects: Subjects) -> bytes:
        """The question about these subjects, as it is sent: it never changes."""
        keys, arguments = self._asked(subjects)
        command = ("EVALSHA", self._script.sha, len(keys), *keys, *arguments)
        return b"".join(self._packer.pack_command(*command))  # type: ignore[no-untyped-call]

    def _new_connection(self) -> Connection:
        """One that connects when it is first used."""
        pool = self.redis.connection_pool
        return cast("Connection", pool.connection_class(**pool.connection_kwargs))

    def headers(self, counted: Counted) -> dict[str, str]:
        """draft-ietf-httpapi-ratelimit-headers-10, sections 3 and 4."""
        left = [
            f'"{name}";r={left}' + (f";t={counted.wait}" if name == counted.refused else "")
            for name, left in counted.left.items()
        ]
        policy = self._policy(tuple(counted.left))
        return {"RateLimit-Policy": policy, "RateLimit": ", ".join(left)}

    def _said(self, names: tuple[str, ...]) -> str:
        return ", ".join(f'"{name}";q={self._limits[name]};w={self._window}' for name in names)


class Pause:
    """Keeps requests from waiting for a Redis that is away: one at a time asks whether it is."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._until = 0.0  # 0 while Redis answers

    def may_ask(self) -> bool:
        if not self._until:
            return True
        with self._lock:
            if time.monotonic() < self._until:
                return False
            if self._until:
                self._until = time.monotonic() + _PAUSE_SECONDS
            return True

    def begin(self, error: Exception) -> None:
        with self._lock:
            first, self._until = not self._until, time.monotonic() + _PAUSE_SECONDS
        if first:
            logger.warning("requests are not counted", extra={"reason": str(error)})

    def end(self) -> None:
        if self._until:
            with self._lock:
                self._until = 0.0
            logger.warning("requests are counted again")


def init_app(app: Flask, settings: Settings) -> None:
    app.extensions["rates"] = None
    if settings.rate_limits:
        redis = connect(settings, timeout=settings.rate_limit_timeout_seconds)
        app.extensions["rates"] = Rates(redis, app.extensions["counters"], settings)
        app.after_request(_tell)


def count_request(caller: Caller | None) -> None:
    """Counts the request that is being answered.

    Raises:
        RateLimited: one of its limits is used up.
    """
    rates = cast("Rates | None", current_app.extensions["rates"])
    if rates is None:
        return
    subjects = {"address": site_of(request.remote_addr)}
    if caller is not None:
        subjects["user"] = caller.user_id.hex
        if caller.tenant_id is not None and caller.role is not None:
            subjects["tenant"] = caller.tenant_id.hex
    counted = g.counted = rates.count(subjects)
    if counted is not None and counted.refused is not None:
        raise RateLimited(counted.refused, wait=counted.wait)


def outcome() -> str | None:
    """What the figures note of this request: the limit that refused it, or "uncounted"."""
    if "counted" not in g:
        return None
    counted: Counted | None = g.counted
    return "uncounted" if counted is None else counted.refused


def _tell(response: Response) -> Response:
    counted: Counted | None = g.get("counted")
    if counted is not None:
        told = cast("Rates", current_app.extensions["rates"]).headers(counted)
        if "RateLimit" in response.headers:  # of a throttle of the route's own
            told = {name: f"{response.headers[name]}, {value}" for name, value in told.items()}
            response.headers.update(told)
        else:
            response.headers.extend(told)
    return response
