"""Spans by OpenTelemetry, sent to a collector (OTLP over HTTP); needs the extra ``tracing``.

The ready-made instrumentations are left out: docs/decisions/0031 says what they would tell.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from sqlalchemy import Engine, event

from app.core import tracing
from app.core.tracing import Attributes, Kind
from app.settings import Settings

_KINDS: Final = {
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
}
_W3C: Final = TraceContextTextMapPropagator()
_VERB: Final = re.compile(r"[A-Za-z]{2,20}")
_SPAN: Final = "tenantry_span"


def start(settings: Settings, *, process: str) -> TracerProvider:
    """Installs a tracer for this process, which is a service of that name.

    Whether a trace is sent is decided by its id alone, so that all processes decide the same, and
    nobody outside can ask for more.
    """
    provider = TracerProvider(
        resource=Resource.create(
            {
                "service.namespace": settings.installation_id,
                "service.name": f"tenantry-{process}",
                "deployment.environment.name": settings.environment,
            }
        ),
        sampler=TraceIdRatioBased(settings.tracing_ratio),
    )
    exporter = OTLPSpanExporter(endpoint=f"{settings.tracing_endpoint}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracing.install(OpenTelemetry(provider))
    return provider


class OpenTelemetry:
    """`app.core.tracing.Tracer`."""

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("tenantry")

    @contextmanager
    def span(
        self, name: str, *, kind: Kind, parent: str | None, attributes: Attributes
    ) -> Iterator[trace.Span]:
        with self._tracer.start_as_current_span(
            name,
            context=None if parent is None else _context_of(parent),
            kind=_KINDS[kind],
            attributes=attributes,
            record_exception=False,  # its text may quote what people wrote
            set_status_on_exception=False,
        ) as begun:
            try:
                yield begun
            except Exception as error:
                _fail(begun, error)
                raise

    @contextmanager
    def continued(self, parent: str) -> Iterator[None]:
        token = contexts.attach(_context_of(parent))
        try:
            yield
        finally:
            contexts.detach(token)

    def current(self) -> str | None:
        carrier: dict[str, str] = {}
        _W3C.inject(carrier)
        return carrier.get("traceparent")

    def watch_engine(self, engine: Engine) -> None:
        event.listen(engine, "before_cursor_execute", self._statement_begins)
        event.listen(engine, "after_cursor_execute", _statement_ends)
        event.listen(engine, "handle_error", _statement_fails)

    def watch_store(self, client: Any) -> None:
        client.meta.events.register("before-call.s3", self._call_begins)
        client.meta.events.register("after-call.s3", _call_ends)
        client.meta.events.register("after-call-error.s3", _call_fails)

    def _statement_begins(
        self, _connection: Any, _cursor: Any, statement: str, _values: Any, execution: Any, _m: Any
    ) -> None:
        if execution is not None and self.current() is not None:
            verb = _VERB.match(statement.lstrip())
            name = "statement" if verb is None else verb[0].upper()
            told = {"db.system.name": "postgresql", "db.operation.name": name}
            setattr(execution, _SPAN, self._begun(name, told))

    def _call_begins(self, *, model: Any, context: dict[str, Any], **_: Any) -> None:
        if self.current() is not None:
            told = {"rpc.system": "aws-api", "rpc.service": "S3", "rpc.method": model.name}
            context[_SPAN] = self._begun(f"S3 {model.name}", told)

    def _begun(self, name: str, attributes: Attributes) -> trace.Span:
        return self._tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes)


def _context_of(parent: str) -> Context:
    return _W3C.extract({"traceparent": parent}, context=Context())


def _fail(span: trace.Span, error: BaseException | None) -> None:
    span.set_attribute("error.type", type(error).__name__)
    span.set_status(Status(StatusCode.ERROR))


def _statement_ends(
    _connection: Any, _cursor: Any, _statement: Any, _values: Any, execution: Any, _m: Any
) -> None:
    if span := getattr(execution, _SPAN, None):
        span.end()


def _statement_fails(failure: Any) -> None:
    if span := getattr(failure.execution_context, _SPAN, None):
        _fail(span, failure.original_exception)
        span.end()


def _call_ends(*, http_response: Any, context: dict[str, Any], **_: Any) -> None:
    if span := context.pop(_SPAN, None):
        span.set_attribute("http.response.status_code", http_response.status_code)
        span.end()


def _call_fails(*, exception: BaseException, context: dict[str, Any], **_: Any) -> None:
    if span := context.pop(_SPAN, None):
        _fail(span, exception)
        span.end()
