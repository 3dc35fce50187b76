"""Fields that take less than marshmallow's own."""

import re
from collections.abc import Mapping
from typing import Any, Final

from marshmallow import fields

# Python's int() also takes digits of every script, underscores, signs and white space.
_DIGITS: Final = re.compile(r"-?[0-9]{1,18}\Z")


class QueryInteger(fields.Integer):
    """An integer as a query string writes it: up to 18 ASCII digits. In JSON, use ``strict``."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **more: Any
    ) -> int:
        if not isinstance(value, str) or not _DIGITS.match(value):
            raise self.make_error("invalid", input=value)
        return super()._deserialize(value, attr, data, **more)
