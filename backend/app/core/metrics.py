"""Figures for Prometheus, over all workers of the API; none is about one tenant.

prometheus_client keeps each worker's figures in files in PROMETHEUS_MULTIPROC_DIR, which
``gunicorn.conf.py`` sets before any worker imports it; elsewhere they are this process's alone.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from hmac import compare_digest
from threading import Lock, Thread
from typing import Final, Generic, cast

from flask import Flask, Response, current_app, request
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from app.core.background import Result
from app.core.errands import Errand
from app.core.errors import NotFound, Unauthenticated
from app.core.http import PUBLIC, endpoint
from app.core.readings import (
    AuditFigures,
    EventFigures,
    FleetFigures,
    JobFigures,
    PoolFigures,
    SsoFigures,
)
from app.settings import Settings

logger = logging.getLogger(__name__)

_CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_SAMPLE_EVERY: Final = 1.0
_DATABASE_SECONDS: Final = 5.0

_registry: Final = CollectorRegistry()
_requests: Final = Counter(
    "tenantry_http_requests",
    "Requests that were answered.",
    ["method", "route", "status"],
    registry=_registry,
)
_seconds: Final = Histogram(
    "tenantry_http_request_seconds",
    "Time until an answer was ready, without its way to the client.",
    ["method", "route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    registry=_registry,
)
_limited: Final = Counter(
    "tenantry_requests_limited",
    "Requests that a limit refused, or that were let through uncounted.",
    ["limit"],
    registry=_registry,
)
_shed: Final = Counter(
    "tenantry_requests_shed",
    "Requests that were refused because too many others waited.",
    registry=_registry,
)
_queued: Final = Gauge(
    "tenantry_requests_waiting",
    "Requests that wait for a thread.",
    multiprocess_mode="livesum",
    registry=_registry,
)
_connections: Final = Gauge(
    "tenantry_tenant_connections",
    "Connections to tenants' databases.",
    ["state"],
    multiprocess_mode="livesum",
    registry=_registry,
)
_waiting: Final = Gauge(
    "tenantry_tenant_connection_waiting",
    "Requests that wait for a connection to a tenant's database.",
    multiprocess_mode="livesum",
    registry=_registry,
)
_events: Final = Counter(
    "tenantry_tenant_connection_events",
    "Connections that were reused (hits), opened or evicted, and requests that were refused one.",
    ["event"],
    registry=_registry,
)


class Metrics:
    """Where this process's figures come from, and who may read them."""

    def __init__(
        self,
        app: Flask,
        settings: Settings,
        *,
        pool: Callable[[], PoolFigures],
        jobs: Callable[[], JobFigures],
        events: Callable[[], EventFigures],
        sso: Callable[[], SsoFigures],
        audit: Callable[[], AuditFigures],
        webhooks: Callable[[], Mapping[str, int]],
        fleet: Callable[[], FleetFigures],
    ) -> None:
        self.token = settings.metrics_token
        self._folder = settings.prometheus_multiproc_dir
        self._pool = pool
        self._sampling = Lock()
        self._told: dict[str, int] = {}
        self._jobs = Errand(app, jobs, name="job figures")
        self._events = Errand(app, events, name="event figures")
        self._sso = Errand(app, sso, name="sso figures")
        self._audit = Errand(app, audit, name="audit figures")
        self._webhooks = Errand(app, webhooks, name="webhook figures")
        self._fleet = Errand(app, fleet, name="fleet figures")

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        self.sample()
        registry = _registry
        if self._folder is not None:
            registry = CollectorRegistry()
            MultiProcessCollector(registry, path=str(self._folder))  # type: ignore[no-untyped-call]
        asked = CollectorRegistry()
        asked.register(_Collector(self._jobs, _told_of_jobs))
        asked.register(_Collector(self._events, _told_of_events))
        asked.register(_Collector(self._sso, _told_of_sso))
        asked.register(_Collector(self._audit, _told_of_audit))
        asked.register(_Collector(self._webhooks, _told_of_webhooks))
        asked.register(_Collector(self._fleet, _told_of_fleet))
        return generate_latest(registry) + generate_latest(asked)

    def sample(self) -> None:
        """Takes the pool's figures down, which other workers cannot see."""
        with self._sampling:
            figures = self._pool()
            _connections.labels("idle").set(figures.idle)
            _connections.labels("in_use").set(figures.in_use)
            _waiting.set(figures.waiting)
            for event, count in figures.events.items():
                _events.labels(event).inc(count - self._told.get(event, 0))
            self._told = figures.events

    def keep_sampling(self, waiting: Callable[[], int]) -> None:
        """For a worker of the API: it does not know when another one is asked for its figures."""
        Thread(target=self._sample_for_ever, args=(waiting,), name="metrics", daemon=True).start()

    def _sample_for_ever(self, waiting: Callable[[], int]) -> None:
        while True:
            time.sleep(_SAMPLE_EVERY)
            _queued.set(waiting())
            self.sample()


# Name, meaning, value; or a family that has several.
Told = Iterable[tuple[str, str, float] | Metric]


class _Collector(Collector, Generic[Result]):
    """Asked at each reading; without the server that knows them its figures are left out."""

    def __init__(self, errand: Errand[Result], told: Callable[[Result], Told]) -> None:
        self._errand = errand
        self._told = told

    def collect(self) -> Iterable[Metric]:
        try:
            figures = self._errand.begin().result(timeout=_DATABASE_SECONDS)
        except Exception as error:  # noqa: BLE001  # the other figures tell the more
            logger.warning("some figures are left out", extra={"reason": str(error)})
            return
        for told in self._told(figures):
            if isinstance(told, Metric):
                yield told
            else:
                name, meaning, value = told
                yield GaugeMetricFamily(name, meaning, value=value)


def _told_of_jobs(figures: JobFigures) -> Told:
    yield "tenantry_jobs_due", "Jobs whose time has come.", figures.due
    yield "tenantry_jobs_failed", "Jobs that were given up.", figures.failed
    yield (
        "tenantry_jobs_oldest_due_seconds",
        "How long the oldest of the due jobs has been due.",
        figures.oldest_due_seconds,
    )
    canaries = GaugeMetricFamily(
        "tenantry_queue_canary_seconds",
        "How long ago the last canary came through a queue; one is sent each minute.",
        labels=["queue"],
    )
    for queue, seconds in figures.canaries.items():
        canaries.add_metric([queue], seconds)
    yield canaries


def _told_of_events(figures: EventFigures) -> Told:
    yield (
        "tenantry_events_unsent",
        "Events in the main database's outbox that no relay has sent yet.",
        figures.unsent,
    )
    yield "tenantry_events_parked", "Events that are tried again by themselves.", figures.parked
    yield "tenantry_events_dead", "Dead letters.", figures.dead
    yield (
        "tenantry_events_oldest_parked_seconds",
        "How long the oldest of the parked events has waited.",
        figures.oldest_parked_seconds,
    )
    yield "tenantry_events_lag", "Messages in Kafka that no consumer has read.", figures.lag
    yield (
        "tenantry_events_lag_age_seconds",
        "How long ago the lag of some partition was last measured: consumers do so all the time.",
        figures.lag_age_seconds,
    )


def _told_of_sso(figures: SsoFigures) -> Told:
    yield _by(
        "tenantry_sso_identities", "People linked with a directory.", "status", figures.identities
    )
    refreshes = CounterMetricFamily(
        "tenantry_sso_refreshes", "How renewing tokens ended.", labels=["outcome"]
    )
    for outcome, count in figures.refreshes.items():
        refreshes.add_metric([outcome], count)
    yield refreshes
    yield (
        "tenantry_sso_soonest_expiry_seconds",
        "How long until the first of the connected people's tokens expires; negative once it has.",
        figures.soonest_expiry_seconds,
    )


def _told_of_audit(figures: AuditFigures) -> Told:
    yield (
        "tenantry_audit_unsealed_trails",
        "Audit trails, the platform's among them, with entries that are not sealed yet.",
        figures.unsealed_trails,
    )
    yield (
        "tenantry_audit_oldest_unsealed_seconds",
        "How long the oldest of them has waited to be sealed.",
        figures.oldest_unsealed_seconds,
    )


def _told_of_webhooks(figures: Mapping[str, int]) -> Told:
    attempts = CounterMetricFamily(
        "tenantry_webhook_attempts",
        "Attempts to deliver an event to a webhook endpoint, by what came of them.",
        labels=["outcome"],
    )
    for outcome, count in sorted(figures.items()):
        attempts.add_metric([outcome], count)
    yield attempts


def _told_of_fleet(figures: FleetFigures) -> Told:
    yield _by("tenantry_tenants", "Tenants.", "state", figures.tenants)
    yield _by("tenantry_tenant_schemas", "Tenants' databases.", "revision", figures.schemas)
    yield _by(
        "tenantry_migration_tenants",
        "Tenants of the newest migration, by what became of them.",
        "status",
        figures.migrated,
    )
    yield (
        "tenantry_backup_overdue_seconds",
        "How long the next backup of some tenant is overdue at most.",
        figures.backup_overdue_seconds,
    )
    yield "tenantry_backups_failed", "Backups that failed in the last day.", figures.backups_failed
    yield (
        "tenantry_events_oldest_unsent_seconds",
        "How long the oldest event in the main database's outbox has waited.",
        figures.oldest_unsent_seconds,
    )


def _by(name: str, meaning: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = GaugeMetricFamily(name, meaning, labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family


def init_app(
    app: Flask,
    settings: Settings,
    *,
    pool: Callable[[], PoolFigures],
    jobs: Callable[[], JobFigures],
    events: Callable[[], EventFigures],
    sso: Callable[[], SsoFigures],
    audit: Callable[[], AuditFigures],
    webhooks: Callable[[], Mapping[str, int]],
    fleet: Callable[[], FleetFigures],
) -> None:
    app.extensions["metrics"] = Metrics(
        app,
        settings,
        pool=pool,
        jobs=jobs,
        events=events,
        sso=sso,
        audit=audit,
        webhooks=webhooks,
        fleet=fleet,
    )
    app.add_url_rule("/metrics", "metrics", metrics)


def observe_request(*, method: str, route: str, status: int, seconds: float) -> None:
    """``method`` and ``route`` are of a small set: each pair costs memory for ever."""
    counter, histogram = _figures_of(method, route, status)
    counter.inc()
    histogram.observe(seconds)


@cache
def _figures_of(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    return _requests.labels(method, route, str(status)), _seconds.labels(method, route)


def observe_limit(limit: str) -> None:
    """``limit`` is user, tenant, address or uncounted."""
    _limited.labels(limit).inc()


def observe_shed() -> None:
    _shed.inc()


@endpoint(allow=PUBLIC, transaction=None, limited=False, gives_file="text/plain", errors=(401, 404))
def metrics() -> Response:
    """Figures for Prometheus, to whoever holds METRICS_TOKEN; without one there are none."""
    source = cast("Metrics", current_app.extensions["metrics"])
    if source.token is None:
        raise NotFound("This installation publishes no figures.")
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    expected = source.token.get_secret_value().encode()
    if scheme.lower() != "bearer" or not compare_digest(given.encode(), expected):
        raise Unauthenticated("Send Authorization: Bearer <METRICS_TOKEN>.")
    return Response(source.text(), content_type=_CONTENT_TYPE)
