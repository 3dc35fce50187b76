"""Where sealed secrets lie, told to what seals them anew."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy.orm import InstrumentedAttribute


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """A column of a model, named ``sealed_…``, and what the secret of a row is sealed for.

    Each module of models lists its own in ``SEALED``.
    """

    column: InstrumentedAttribute[str] | InstrumentedAttribute[str | None]
    context: Callable[[Any], str]

    @property
    def model(self) -> type[Any]:
        return cast("type[Any]", self.column.class_)

    @property
    def name(self) -> str:
        return f"{self.model.__tablename__}.{self.column.key}"
