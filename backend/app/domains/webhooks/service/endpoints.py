"""Endpoints: made, changed, disabled and given new secrets by a tenant's administrators."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

from app.core import clock, events, ids
from app.core.catalogue import catalogue
from app.core.secrets import SecretBox
from app.domains.webhooks import errors, policy, queries
from app.domains.webhooks.events import (
    EndpointCreated,
    EndpointDeleted,
    EndpointDisabled,
    EndpointEnabled,
    EndpointUpdated,
    SecretRotated,
)
from app.domains.webhooks.models import DisabledReason, Endpoint, secret_context
from app.domains.webhooks.service import signing
from app.integrations.customer_http import CustomerHttp, UrlRefused
from app.tenancy.sessions import TenantSession

_CHANGEABLE: Final = ("url", "description", "event_types")


@dataclass(frozen=True, slots=True)
class Told:
    """An endpoint and its newest secret, which nobody is told again."""

    endpoint: Endpoint
    secret: str


def list_endpoints(session: TenantSession) -> Sequence[Endpoint]:
    return queries.endpoints(session)


def get_endpoint(session: TenantSession, *, endpoint_id: UUID) -> Endpoint:
    return found(queries.endpoint(session, endpoint_id))


def create_endpoint(
    session: TenantSession,
    client: CustomerHttp,
    secrets: SecretBox,
    *,
    url: str,
    description: str,
    event_types: Sequence[str],
) -> Told:
    """A new endpoint, enabled at once.

    Raises:
        UrlUnacceptable, UnknownEventType: it cannot be like that.
        TooManyEndpoints: the tenant has enough of them.
    """
    _require_url(client, url)
    _require_types(event_types)
    if queries.lock_endpoints(session) >= policy.MOST_ENDPOINTS:
        raise errors.TooManyEndpoints(
            f"A tenant has {policy.MOST_ENDPOINTS} webhook endpoints at most."
        )
    endpoint_id, secret = ids.new_id(), signing.new_secret()
    endpoint = Endpoint(
        id=endpoint_id,
        url=url,
        description=description,
        event_types=sorted(set(event_types)),
        sealed_secret=secrets.seal(secret, context=secret_context(endpoint_id)),
    )
    session.add(endpoint)
    session.flush()  # the database says whether it is active
    events.record(
        session,
        EndpointCreated(endpoint_id=endpoint_id, host=_host(url), event_types=endpoint.event_types),
    )
    return Told(endpoint, secret)


def update_endpoint(
    session: TenantSession,
    client: CustomerHttp,
    *,
    endpoint_id: UUID,
    enabled: bool | None = None,
    **changes: Any,
) -> Endpoint:
    """Changes what is given. Enabled anew, an endpoint begins without former failures.

    Raises:
        UrlUnacceptable, UnknownEventType: it cannot be like that.
    """
    endpoint = found(queries.endpoint_for_change(session, endpoint_id))
    if "url" in changes:
        _require_url(client, changes["url"])
    if "event_types" in changes:
        _require_types(changes["event_types"])
        changes["event_types"] = sorted(set(changes["event_types"]))
    changed = {name: changes[name] for name in _CHANGEABLE if name in changes}
    told: dict[str, list[object]] = {
        name: [_shown(name, getattr(endpoint, name)), _shown(name, value)]
        for name, value in changed.items()
        if getattr(endpoint, name) != value
    }
    for name, value in changed.items():
        setattr(endpoint, name, value)
    if told:
        events.record(session, EndpointUpdated(endpoint_id=endpoint.id, changes=told))
    if enabled is not None and enabled != endpoint.enabled:
        _switch(session, endpoint, enabled=enabled)
    session.flush()  # the database says whether it is active
    session.refresh(endpoint)
    return endpoint


def disable(session: TenantSession, endpoint: Endpoint, reason: DisabledReason) -> None:
    endpoint.disabled_reason = reason
    events.record(session, EndpointDisabled(endpoint_id=endpoint.id, reason=reason))


def delete_endpoint(session: TenantSession, *, endpoint_id: UUID) -> None:
    """With its deliveries; what is on its way is not sent any more."""
    endpoint = found(queries.endpoint_for_change(session, endpoint_id))
    session.delete(endpoint)
    events.record(session, EndpointDeleted(endpoint_id=endpoint.id, host=_host(endpoint.url)))


def rotate_secret(
    session: TenantSession, secrets: SecretBox, *, endpoint_id: UUID, overlap_seconds: int
) -> Told:
    """A new secret; the one until now signs too for so long, and any before that no more."""
    endpoint = found(queries.endpoint_for_change(session, endpoint_id))
    secret = signing.new_secret()
    endpoint.sealed_former_secret = endpoint.sealed_secret if overlap_seconds else None
    endpoint.former_secret_ends_at = (
        clock.now() + timedelta(seconds=overlap_seconds) if overlap_seconds else None
    )
    endpoint.sealed_secret = secrets.seal(secret, context=secret_context(endpoint.id))
    events.record(session, SecretRotated(endpoint_id=endpoint.id, overlap_seconds=overlap_seconds))
    return Told(endpoint, secret)


def live_secrets(endpoint: Endpoint) -> tuple[str, ...]:
    """Sealed; the newest first."""
    former, ends_at = endpoint.sealed_former_secret, endpoint.former_secret_ends_at
    if former is None or ends_at is None or ends_at <= clock.now():
        return (endpoint.sealed_secret,)
    return (endpoint.sealed_secret, former)


def found(endpoint: Endpoint | None) -> Endpoint:
    if endpoint is None:
        raise errors.EndpointNotFound("There is no such webhook endpoint.")
    return endpoint


def _switch(session: TenantSession, endpoint: Endpoint, *, enabled: bool) -> None:
    if not enabled:
        disable(session, endpoint, DisabledReason.MANUAL)
        return
    endpoint.disabled_reason = endpoint.failing_since = None
    events.record(session, EndpointEnabled(endpoint_id=endpoint.id))


def _require_url(client: CustomerHttp, url: str) -> None:
    try:
        client.require_acceptable(url)
    except UrlRefused as error:
        raise errors.UrlUnacceptable(str(error), errors={"url": [str(error)]}) from None


def _require_types(event_types: Collection[str]) -> None:
    unknown = sorted(set(event_types) - catalogue().keys() - {policy.EVERY})
    if unknown:
        told = [f"There is no event type {name}." for name in unknown]
        raise errors.UnknownEventType(
            "Choose from GET /api/event-types, or * for all.", errors={"event_types": told}
        )


def _shown(name: str, value: object) -> object:
    return _host(str(value)) if name == "url" else value


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""
