"""Fields that take less than marshmallow's own."""

import re
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from marshmallow import fields

# Python's int() also takes digits of every script, underscores, signs and white space.
_DIGITS: Final = re.compile(r"-?[0-9]{1,18}\Z")

# As RFC 9562, section 4 writes them; Python's UUID() also takes braces, "urn:uuid:" and no hyphens.
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")


class Id(fields.UUID):
    """A UUID with its hyphens, and nothing else."""

    def _validated(self, value: Any) -> UUID:
        if not isinstance(value, str) or not _UUID.match(value):
            raise self.make_error("invalid_uuid")
        return UUID(value)


class QueryInteger(fields.Integer):
    """An integer as a query string writes it: up to 18 ASCII digits. In JSON, use ``strict``."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **more: Any
    ) -> int:
        if not isinstance(value, str) or not _DIGITS.match(value):
            raise self.make_error("invalid", input=value)
        return super()._deserialize(value, attr, data, **more)
