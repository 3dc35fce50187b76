"""How often somebody may try: exact sliding windows in Redis, over all processes.

A route states ``throttle=`` beside its policy. Each of its limits counts attempts of an account, of
a client's address, of a pair of both, or of all together; an attempt that any of them refuses is
counted by none. Where Redis cannot count, nobody tries (503).

Why not the library `limits`: its moving window is atomic, but for one limit at a time, so that what
the second refuses has already cost the first; it goes by each process's own clock; and a single
attempt cannot be given back.
"""

import hmac
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network
from math import ceil
from operator import itemgetter
from typing import Any, ClassVar, Final, Literal, cast

from flask import Flask, current_app
from redis import Redis
from redis.exceptions import RedisError

from app.core import ids
from app.core.auth_log import AuthEvent
from app.core.errors import TooManyRequests, Unavailable
from app.core.proxies import parse_address
from app.settings import Settings

logger = logging.getLogger(__name__)

Subject = Literal["account", "address"]

_MICROSECONDS: Final = 1_000_000
_IPV6_SITE: Final = 64  # bits: what one subscriber is given at least (RFC 6177)

# KEYS: the mark of a known pair, then one sorted set (attempt -> time) per limit. ARGV: the
# attempt, then for each limit its attempts, its window, and "1" where known pairs are free of it.
# Times are the server's, in microseconds. Answers the limit that refuses longest, for how long, and
# whether it is the first refusal since the window filled.
_ADMIT: Final = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local known = redis.call('EXISTS', KEYS[1]) == 1
local counting, refusing, wait = {}, 0, 0
for limit = 1, #KEYS - 1 do
  local key, at = KEYS[limit + 1], limit * 3 - 1
  local attempts, window = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  if not (known and ARGV[at + 2] == '1') then
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now - window)
    if redis.call('ZCARD', key) >= attempts then
      local first = redis.call('ZRANGE', key, -attempts, -attempts, 'WITHSCORES')
      local left = first[2] + window - now
      if left > wait then refusing, wait = limit, left end
    end
    counting[key] = window
  end
end
if refusing > 0 then
  local told = KEYS[refusing + 1] .. ':told'
  local first = redis.call('SET', told, 1, 'NX', 'PX', math.ceil(wait / 1000))
  return {refusing, wait, first and 1 or 0}
end
for key, window in pairs(counting) do
  redis.call('ZADD', key, now, ARGV[1])
  redis.call('PEXPIRE', key, math.ceil(window / 1000))
end
return {0, 0, 0}
"""


class CannotCount(Unavailable):
    """Redis does not answer; trying without being counted is no alternative."""

    code = "throttle_unavailable"
    retry_after = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """``attempts`` in any ``window_seconds``, counted apart for each value of ``by``.

    ``but_known`` lifts it for an account at an address from which it succeeded before.
    """

    by: tuple[Subject, ...]
    attempts: int
    window_seconds: int
    but_known: bool = False

    @property
    def kind(self) -> str:
        return "-".join(self.by) or "all"


@dataclass(frozen=True, slots=True)
class Throttle:
    """A route's limits, as the settings give them; routes of the same name share their counters.

    The account is the caller's, or else what ``account_of`` finds in the body: its ``email``.
    """

    name: str
    limits: Callable[[Settings], tuple[Limit, ...]]
    account_of: Callable[[Any], str] = itemgetter("email")


def sends_mail(name: str, *, account_of: Callable[[Any], str] = itemgetter("email")) -> Throttle:
    """For public routes that send a mail to whatever address they are given."""
    return Throttle(
        name,
        lambda settings: (
            Limit(
                by=("account",),
                attempts=settings.mail_requests_per_account,
                window_seconds=settings.mail_window_seconds,
            ),
            Limit(
                by=("address",),
                attempts=settings.mail_requests_per_address,
                window_seconds=settings.mail_window_seconds,
            ),
            Limit(
                by=(),
                attempts=settings.mail_requests_over_all,
                window_seconds=settings.mail_window_seconds,
            ),
        ),
        account_of,
    )


def hashes_password(name: str) -> Throttle:
    """For public routes that work on a new password before they know who sends it."""
    return Throttle(
        name,
        lambda settings: (
            Limit(
                by=("address",),
                attempts=settings.login_attempts_per_address,
                window_seconds=settings.login_window_seconds,
            ),
        ),
        lambda _body: "",
    )


@dataclass(frozen=True, kw_only=True)
class AttemptThrottled(AuthEvent):
    """``account`` is its pseudonym; ``reason`` names the limit, as the RateLimit headers do."""

    type: ClassVar[str] = "attempt.throttled"
    target: ClassVar[str] = "account"
    outcome = "refused"

    account: str
    reason: str


class Throttled(TooManyRequests):
    """``first``: for the first time in the limit's window. Who hammers shall not fill the trail."""

    def __init__(
        self, policy: str, limit: Limit, *, wait: int, event: AttemptThrottled, first: bool
    ) -> None:
        super().__init__("Too many attempts; wait as long as Retry-After says, then try again.")
        self.event, self.first = event, first
        self.retry_after = wait
        # draft-ietf-httpapi-ratelimit-headers-10, sections 3 and 4.
        self.headers = {
            "RateLimit-Policy": f'"{policy}";q={limit.attempts};w={limit.window_seconds}',
            "RateLimit": f'"{policy}";r=0;t={wait}',
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One that was admitted, and is counted already: so parallel ones cannot overrun a limit.

    ``account`` is a pseudonym, for logs.
    """

    id: str
    account: str
    redis: Redis
    own: tuple[str, ...]
    shared: tuple[str, ...]
    known: str
    known_for_seconds: int

    def succeeded(self) -> None:
        """Takes the attempt back, forgets the pair's failures, and remembers the pair as known.

        Only this attempt is taken from counters that others share: who has an account of his own
        cannot reset his address's counter with it.
        """
        try:
            with self.redis.pipeline() as pipeline:
                for key in self.own:
                    pipeline.delete(key)
                for key in self.shared:
                    pipeline.zrem(key, self.id)
                if self.known_for_seconds:
                    pipeline.set(self.known, 1, ex=self.known_for_seconds)
                pipeline.execute()
        except RedisError as error:  # what was attempted is done: the count is merely too high
            logger.warning("an attempt was not taken back", extra={"reason": str(error)})


class Counters:
    """The keys in Redis, from which no person's or client's name is to be read, and their use."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis = redis
        self._settings = settings
        self._admit = redis.register_script(_ADMIT)
        self._secret = f"throttle/{settings.secret_key.get_secret_value()}".encode()

    def admit(self, throttle: Throttle, *, account: str, address: str | None) -> Attempt:
        """Counts one attempt.

        Raises:
            Throttled: a limit refuses it.
            CannotCount: Redis does not answer.
        """
        subjects: dict[Subject, str] = {"account": account.lower(), "address": site_of(address)}
        keys = {
            limit: self.key(throttle.name, limit.kind, *(subjects[one] for one in limit.by))
            for limit in throttle.limits(self._settings)
        }
        attempt = Attempt(
            id=ids.new_id().hex,
            account=self._pseudonym(subjects["account"]),
            redis=self._redis,
            own=tuple(key for limit, key in keys.items() if len(limit.by) > 1),
            shared=tuple(key for limit, key in keys.items() if len(limit.by) <= 1),
            known=self.key(throttle.name, "known", *subjects.values()),
            known_for_seconds=self._known_for_seconds(keys),
        )
        self._count(throttle, attempt, keys)
        return attempt

    def _known_for_seconds(self, limits: Iterable[Limit]) -> int:
        free = any(limit.but_known for limit in limits)
        return self._settings.login_known_address_seconds if free else 0

    def _pseudonym(self, *parts: str) -> str:
        """The same for the same parts; without SECRET_KEY nobody can test a guess on it."""
        return hmac.digest(self._secret, json.dumps(parts).encode(), "sha256").hex()[:32]

    def key(self, name: str, kind: str, *parts: str) -> str:
        """Of one counter: what is counted, by what, and a pseudonym for whose it is."""
        pseudonym = self._pseudonym(*parts)
        return f"{self._settings.installation_id}:throttle:{name}:{kind}:{pseudonym}"

    def _count(self, throttle: Throttle, attempt: Attempt, keys: Mapping[Limit, str]) -> None:
        arguments: list[str | int] = [attempt.id]
        for limit in keys:
            window = limit.window_seconds * _MICROSECONDS
            arguments += [limit.attempts, window, int(limit.but_known)]
        try:
            answer = self._admit(keys=[attempt.known, *keys.values()], args=arguments)
        except RedisError as error:
            logger.warning("attempts cannot be counted", extra={"reason": str(error)})
            raise CannotCount("Attempts cannot be counted just now; try again soon.") from error
        refusing, wait, first = cast("list[int]", answer)
        if refusing:
            limit = list(keys)[refusing - 1]
            policy = f"{throttle.name}-{limit.kind}"
            event = AttemptThrottled(account=attempt.account, reason=policy)
            raise Throttled(
                policy, limit, wait=ceil(wait / _MICROSECONDS), event=event, first=bool(first)
            )


def init_app(app: Flask, settings: Settings) -> None:
    app.extensions["counters"] = Counters(app.extensions["redis"], settings)


def current_counters() -> Counters:
    return cast("Counters", current_app.extensions["counters"])


@lru_cache(maxsize=4096)
def site_of(address: str | None) -> str:
    """What counts as one client: an IPv4 address, or the site of an IPv6 address."""
    parsed = parse_address(address or "")
    if isinstance(parsed, IPv6Address):
        return str(IPv6Network((parsed, _IPV6_SITE), strict=False))
    return str(parsed)
