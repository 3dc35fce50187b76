"""What is done about events, by their types: a handler imports no domain that tells one.

Each handler runs once for each event, in one transaction together with the note that it has run.
Importing a domain's ``consumers.py`` registers its handlers; the factory does that.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final, Literal

from app.core.cloudevents import CloudEvent

Plane = Literal["main", "tenant"]
Handler = Callable[[Any, CloudEvent], None]

EVERY: Final = ("*",)


@dataclass(frozen=True, slots=True)
class Consumer:
    name: str
    types: frozenset[str]
    plane: Plane
    handle: Handler

    def wants(self, event: CloudEvent) -> bool:
        if self.plane == "tenant" and event.tenantid is None:
            return False
        return event.type in self.types or "*" in self.types


CONSUMERS: Final[dict[str, Consumer]] = {}


def consumer(
    *, name: str, types: Collection[str], plane: Plane = "tenant"
) -> Callable[[Handler], Handler]:
    """Makes a handler of a function that takes a session and a `CloudEvent`.

    ``name`` is stored with what it has handled, and never changes. ``types`` are written out, with
    their versions; EVERY takes all. The session is one transaction, on the event's tenant's
    database (what has no tenant is passed over) or, with ``plane="main"``, on the main database in
    that tenant's name; other handlers and events of the same key may share it. What it raises holds
    back the later events of the same key, for this handler alone, until it succeeds or is given up.
    """

    def decorate(function: Handler) -> Handler:
        if name in CONSUMERS:
            raise ValueError(f"two consumers are named {name}")
        CONSUMERS[name] = Consumer(name, frozenset(types), plane, function)
        return function

    return decorate


def consumers_of(event: CloudEvent) -> list[Consumer]:
    return [each for each in CONSUMERS.values() if each.wants(event)]
