"""Conditional requests (RFC 9110, section 13): a revision as entity tag, and who may change it."""

from dataclasses import dataclass
from typing import Final

from flask import request

from app.core.errors import PreconditionFailed


@dataclass(frozen=True, slots=True)
class IfMatch:
    """The entity tags that a change is meant for; None where any will do."""

    tags: frozenset[str] | None

    def require(self, tag: str) -> None:
        """Lets the change pass.

        Raises:
            PreconditionFailed: somebody else changed it since the sender looked.
        """
        if self.tags is not None and tag not in self.tags:
            raise PreconditionFailed("It was changed meanwhile; read it again and repeat.")


ANY: Final = IfMatch(None)


def if_match() -> IfMatch:
    """Of this request. A weak tag matches nothing (section 13.1.1)."""
    tags = request.if_match
    return (
        ANY
        if tags.star_tag or "If-Match" not in request.headers
        else IfMatch(frozenset(tags.as_set()))
    )
