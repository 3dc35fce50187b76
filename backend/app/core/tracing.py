"""Spans: what the time of a request or a job goes into, for whoever collects them.

Without TRACING_ENDPOINT no tracer is installed, and nothing here does anything. A span tells what
is done, by names that this code has written (a route, a job, a statement's verb), and never with
what: no id, address or value, and of an error its type.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final, Literal, Protocol

from sqlalchemy import Engine

from app.core.logs import log_context

Kind = Literal["server", "client", "producer", "consumer"]
Attributes = Mapping[str, str | int]
_NONE: Final[Attributes] = {}


class Span(Protocol):
    """Something that takes time."""

    def set_attribute(self, key: str, value: str | int) -> None: ...


class Tracer(Protocol):
    """What makes spans of it; `app.integrations.telemetry` has the one."""

    def span(
        self, name: str, *, kind: Kind, parent: str | None, attributes: Attributes
    ) -> AbstractContextManager[Span]:
        """The current one inside the block; a child of ``parent``, else of the current one."""
        ...

    def continued(self, parent: str) -> AbstractContextManager[None]:
        """Spans inside the block are children of ``parent``."""
        ...

    def current(self) -> str | None:
        """The current span as others continue it: a W3C ``traceparent``."""
        ...

    def watch_engine(self, engine: Engine) -> None:
        """Each statement inside a span gets one of its own."""
        ...

    def watch_store(self, client: Any) -> None:
        """Each call of a boto3 client inside a span gets one of its own."""
        ...


class _Unseen:
    def set_attribute(self, key: str, value: str | int) -> None:
        """Nobody looks."""


_NOTHING: Final[AbstractContextManager[Span]] = nullcontext(_Unseen())
_ALONE: Final[AbstractContextManager[None]] = nullcontext()
_tracer: Tracer | None = None


def install(tracer: Tracer | None) -> None:
    """For this process, before its engines and clients are made."""
    global _tracer  # noqa: PLW0603  # like logging's handlers, one for the process
    _tracer = tracer


def is_on() -> bool:
    return _tracer is not None


def span(
    name: str, *, kind: Kind, parent: str | None = None, attributes: Attributes = _NONE
) -> AbstractContextManager[Span]:
    """A block that others hear of; lines that are logged in it carry its trace."""
    if _tracer is None:
        return _NOTHING
    return _logged(_tracer, name, kind, parent, attributes)


def part(name: str, *, attributes: Attributes = _NONE) -> AbstractContextManager[Span]:
    """What is asked of another server, where that is a part of something."""
    if _tracer is None or _tracer.current() is None:
        return _NOTHING
    return _tracer.span(name, kind="client", parent=None, attributes=attributes)


def continued(parent: str | None) -> AbstractContextManager[None]:
    """What happens inside the block is a part of what ``parent`` names, wherever that was."""
    return _ALONE if _tracer is None or parent is None else _tracer.continued(parent)


def traceparent() -> str | None:
    """What is handed on, so that others continue the current span."""
    return None if _tracer is None else _tracer.current()


def watch_engine(engine: Engine) -> None:
    if _tracer is not None:
        _tracer.watch_engine(engine)


def watch_store(client: Any) -> None:
    if _tracer is not None:
        _tracer.watch_store(client)


@contextmanager
def _logged(
    tracer: Tracer, name: str, kind: Kind, parent: str | None, attributes: Attributes
) -> Iterator[Span]:
    with tracer.span(name, kind=kind, parent=parent, attributes=attributes) as begun:
        current = tracer.current() or "--"
        with log_context(trace_id=current.split("-")[1]):
            yield begun
