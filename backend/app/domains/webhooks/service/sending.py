"""One attempt at a delivery: taken, sent with no transaction open, and written down."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final
from uuid import UUID

from app.core import clock
from app.core.errors import Unavailable
from app.core.secrets import SecretBox
from app.core.tallies import Tallies
from app.domains.webhooks import policy, queries
from app.domains.webhooks.models import (
    Attempt,
    Delivery,
    DeliveryState,
    DisabledReason,
    Endpoint,
    secret_context,
)
from app.domains.webhooks.service import deliveries, endpoints, signing
from app.integrations.customer_http import Answer, CustomerHttp, NoAnswer
from app.settings import Settings
from app.tenancy.sessions import TenantSession

logger = logging.getLogger(__name__)

OpenSession = Callable[[], AbstractContextManager[TenantSession]]

TALLY: Final = "webhook_attempts"
_AGENT: Final = "Tenantry-Webhooks/1.0 (Standard Webhooks)"
# Longer than any attempt may take, by the time that it takes to write it down.
_LEASE_MARGIN: Final = timedelta(seconds=30)
# The clock of a process and that of the database of jobs differ by a little.
_TOLERANCE: Final = timedelta(seconds=2)
# Until a tenant that has enough attempts under way is looked at again.
_PAUSE: Final = timedelta(seconds=5)
_LONGEST_RETRY_AFTER: Final = timedelta(days=1)
_LONGEST_ANSWER: Final = 1000
_GONE: Final = 410


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outgoing:
    delivery_id: UUID
    number: int
    endpoint_id: UUID
    url: str
    message_id: UUID
    body: bytes
    sent_at: datetime
    sealed_secrets: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """``error`` is a word of a small set; None where it arrived."""

    error: str | None
    detail: str | None = None
    status: int | None = None
    answer: str | None = None
    retry_after: timedelta = timedelta(0)


class Sender:
    """What every attempt needs."""

    def __init__(
        self, client: CustomerHttp, secrets: SecretBox, tallies: Tallies, settings: Settings
    ) -> None:
        self._client, self._secrets = client, secrets
        self._tallies, self._settings = tallies, settings

    def deliver(self, open_session: OpenSession, *, tenant_id: UUID, delivery_id: UUID) -> None:
        """Attempts the delivery if its time has come, and has somebody come back while it waits.

        Whoever dies meanwhile leaves a job that comes back by itself, and an attempt without an
        end.
        """
        with open_session() as session:
            taken = self._take(session, delivery_id)
        if isinstance(taken, _Outgoing):
            outcome = self._send(taken)
            self._tallies.add(TALLY, outcome.error or "delivered")
            with open_session() as session:
                taken = self._settle(session, taken, outcome)
        if taken is not None:
            deliveries.schedule(tenant_id, [delivery_id], due_at=taken)

    def _take(self, session: TenantSession, delivery_id: UUID) -> _Outgoing | datetime | None:
        """What to send; or when to come back, if ever."""
        delivery, now = queries.delivery_for_change(session, delivery_id), clock.now()
        if delivery is None or delivery.next_attempt_at is None:
            return None
        if delivery.next_attempt_at > now + _TOLERANCE:
            return delivery.next_attempt_at
        endpoint = endpoints.found(queries.endpoint(session, delivery.endpoint_id))
        if not policy.goes_out(endpoint):
            _finish(delivery, DeliveryState.SKIPPED)
            return None
        if queries.running_attempts(session, since=now - self._lease) >= policy.MOST_AT_ONCE:
            delivery.next_attempt_at = now + _PAUSE
            return delivery.next_attempt_at
        return self._begin(session, delivery, endpoint, now)

    def _begin(
        self, session: TenantSession, delivery: Delivery, endpoint: Endpoint, now: datetime
    ) -> _Outgoing:
        delivery.attempt_count += 1
        delivery.next_attempt_at = now + self._lease
        number = delivery.attempt_count
        session.add(
            Attempt(delivery_id=delivery.id, number=number, url=endpoint.url, started_at=now)
        )
        return _Outgoing(
            delivery_id=delivery.id,
            number=number,
            endpoint_id=endpoint.id,
            url=endpoint.url,
            message_id=delivery.message_id,
            body=delivery.message.body.encode(),
            sent_at=now,
            sealed_secrets=endpoints.live_secrets(endpoint),
        )

    def _headers(self, outgoing: _Outgoing) -> dict[str, str]:
        context = secret_context(outgoing.endpoint_id)
        secrets = [self._secrets.open(each, context=context) for each in outgoing.sealed_secrets]
        signed = signing.headers(
            outgoing.message_id, outgoing.body, sent_at=outgoing.sent_at, secrets=secrets
        )
        return {"Content-Type": "application/json", "User-Agent": _AGENT, **signed}

    def _send(self, outgoing: _Outgoing) -> _Outcome:
        try:
            headers = self._headers(outgoing)
            answer = self._client.post(outgoing.url, body=outgoing.body, headers=headers)
        except Unavailable as error:  # what opens secrets, for one
            logger.warning("a webhook could not be signed", extra={"reason": error.detail})
            return _Outcome(error="not_signed", detail="Its secret could not be read just now.")
        except NoAnswer as error:
            return _Outcome(error=error.reason, detail=str(error))
        arrived = 200 <= answer.status < 300  # noqa: PLR2004  # RFC 9110, section 15.3
        return _Outcome(
            error=None if arrived else "refused",
            status=answer.status,
            answer=_text(answer.body),
            retry_after=_retry_after(answer),
        )

    def _settle(
        self, session: TenantSession, sent: _Outgoing, outcome: _Outcome
    ) -> datetime | None:
        """When to come back, if ever."""
        attempt = queries.attempt(session, delivery_id=sent.delivery_id, number=sent.number)
        if attempt is None:  # the endpoint was deleted meanwhile
            return None
        attempt.finished_at = clock.now()
        attempt.status, attempt.answer = outcome.status, outcome.answer
        attempt.error, attempt.detail = outcome.error, outcome.detail
        endpoint = queries.endpoint_of_delivery_for_change(session, sent.delivery_id)
        delivery = queries.delivery_for_change(session, sent.delivery_id)
        if endpoint is None or delivery is None or delivery.attempt_count != sent.number:
            return None  # it took longer than its lease, and another attempt goes on with it
        if outcome.error is None:
            endpoint.failing_since = None
            _finish(delivery, DeliveryState.DELIVERED)
        else:
            self._fail(session, endpoint, delivery, outcome)
        return delivery.next_attempt_at

    def _fail(
        self, session: TenantSession, endpoint: Endpoint, delivery: Delivery, outcome: _Outcome
    ) -> None:
        now, pauses = clock.now(), self._settings.webhook_retry_seconds
        endpoint.failing_since = endpoint.failing_since or now
        if outcome.status == _GONE or delivery.attempt_count > len(pauses):
            _finish(delivery, DeliveryState.FAILED)
        else:
            pause = timedelta(seconds=pauses[delivery.attempt_count - 1])
            delivery.next_attempt_at = now + max(pause, outcome.retry_after)
        if not endpoint.enabled:
            return
        if outcome.status == _GONE:
            endpoints.disable(session, endpoint, DisabledReason.GONE)
        elif now - endpoint.failing_since >= self._patience:
            endpoints.disable(session, endpoint, DisabledReason.FAILING)

    @property
    def _lease(self) -> timedelta:
        return timedelta(seconds=self._settings.webhook_timeout_seconds) + _LEASE_MARGIN

    @property
    def _patience(self) -> timedelta:
        return timedelta(hours=self._settings.webhook_disable_after_hours)


def _finish(delivery: Delivery, state: DeliveryState) -> None:
    delivery.state, delivery.next_attempt_at = state, None
    delivery.finished_at = clock.now()


def _text(body: bytes) -> str:
    """What PostgreSQL takes as text."""
    text = body.decode(errors="replace").replace("\x00", "\N{REPLACEMENT CHARACTER}")
    return text[:_LONGEST_ANSWER]


def _retry_after(answer: Answer) -> timedelta:
    """What RFC 9110, section 10.2.3 has: seconds, or a date; a day at most."""
    given = answer.headers.get("retry-after", "").strip()
    if given.isascii() and given.isdecimal():
        wait = timedelta(seconds=min(int(given[:9]), 10**8))
    else:
        try:
            wait = parsedate_to_datetime(given) - clock.now()
        except (ValueError, TypeError):  # neither, or a date without its zone
            return timedelta(0)
    return min(max(wait, timedelta(0)), _LONGEST_RETRY_AFTER)
