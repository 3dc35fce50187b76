"""The form in which others are told: CloudEvents 1.0, as one JSON document (structured mode)."""

from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

_MAY_BE_ABSENT: Final = ("tenantid", "actorid", "traceparent")
CONTENT_TYPE: Final = "application/cloudevents+json; charset=utf-8"


class Undecodable(ValueError):
    """These bytes are no CloudEvent of ours; the message quotes none of them."""


class CloudEvent(BaseModel):
    """One event. ``tenantid`` and ``actorid`` are extensions: whose it is, and who did it.

    So is ``traceparent``, the span that it came from, as CloudEvents' distributed tracing has it.
    """

    model_config = ConfigDict(frozen=True)

    specversion: Literal["1.0"] = "1.0"
    id: UUID
    source: Annotated[str, Field(min_length=1)]
    type: Annotated[str, Field(pattern=r"^[a-z]+(\.[a-z_]+)+\.v[1-9][0-9]*$")]
    subject: str
    time: AwareDatetime
    datacontenttype: Literal["application/json"] = "application/json"
    tenantid: UUID | None = None
    actorid: UUID | None = None
    traceparent: Annotated[str, Field(max_length=64)] | None = None
    data: dict[str, Any]

    def dumps(self) -> bytes:
        return self.model_dump_json(exclude=self._absent()).encode()

    def _absent(self) -> set[str]:
        """Attributes without a value are left out; what is in the data stays."""
        return {name for name in _MAY_BE_ABSENT if getattr(self, name) is None}

    @classmethod
    def loads(cls, value: bytes | None) -> "CloudEvent":
        """The event.

        Raises:
            Undecodable: the bytes are none.
        """
        try:
            return cls.model_validate_json(value or b"")
        except ValidationError as error:
            faults = sorted({f"{_place(each['loc'])}: {each['type']}" for each in error.errors()})
            raise Undecodable("; ".join(faults)) from None


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location)) or "document"
