"""What documents take and give over HTTP."""

from typing import Any, Final

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from app.core.fields import Id, QueryInteger
from app.core.pages import PageQuery

_MOST_AT_ONCE = 100
_DIGEST: Final = "sha256:" + "0123456789abcdef" * 4


class Document(Schema):
    """``size`` in bytes; ``digest`` is ``sha256:`` and 64 hexadecimal digits.

    ``version`` numbers the content; ``revision`` grows with each change and is the ETag.
    ``processing`` tells whether its text can be found: it is ``pending`` for a moment after the
    upload, then ``processed``, ``unsupported`` or ``failed``, for the ``processing_reason``.
    ``detected_type`` is what the bytes are; ``content_type`` what their sender called them.
    """

    EXAMPLE: Final = {
        "name": "plans.txt",
        "content_type": "text/plain",
        "size": 5,
        "digest": _DIGEST,
        "processing": "processed",
        "processing_reason": None,
        "detected_type": "text/plain",
        "tags": ["plans"],
    }

    id = fields.UUID(required=True)
    name = fields.String(required=True)
    content_type = fields.String(required=True)
    size = fields.Integer(required=True)
    digest = fields.String(required=True)
    processing = fields.String(
        required=True,
        validate=validate.OneOf(["pending", "processed", "unsupported", "failed"]),
    )
    processing_reason = fields.String(required=True, allow_none=True)
    detected_type = fields.String(required=True, allow_none=True)
    owner_id = fields.UUID(required=True)
    tags = fields.List(fields.String(), required=True)
    version = fields.Integer(required=True)
    revision = fields.Integer(required=True)
    created_at = fields.AwareDateTime(required=True)
    updated_at = fields.AwareDateTime(required=True)


class ListedDocument(Document):
    """``snippet`` is there with ``q``: HTML, the words that were found in ``<mark>``."""

    snippet = fields.String(
        required=True, allow_none=True, metadata={"example": "the <mark>plans</mark> of the year"}
    )


class DocumentPage(Schema):
    items = fields.List(fields.Nested(ListedDocument), required=True)
    next_cursor = fields.String(allow_none=True, required=True)


class DocumentQuery(PageQuery):
    """Filters narrow down together; a ``tag`` may be given several times.

    ``name`` is any piece of a name, in capitals or not. ``content_type`` may end in ``/*``.
    ``created_from`` is in, ``created_to`` is not. ``q`` finds words in the documents' texts: all of
    them, ``"a phrase"``, ``this or that``, ``-without``; ``sort=relevance`` is for it alone, and
    its default.
    """

    q = fields.String(load_default=None, validate=validate.Length(min=1, max=500))
    name = fields.String(load_default=None, validate=validate.Length(min=1, max=255))
    content_type = fields.String(
        load_default=None,
        validate=validate.Regexp(
            r"^[a-zA-Z0-9][\w!#$&^.+-]{0,126}/(?:\*|[a-zA-Z0-9][\w!#$&^.+-]{0,126})\Z",
            error="Use a media type (text/plain), or a family of them (image/*).",
        ),
    )
    owner_id = Id(load_default=None)
    created_from = fields.AwareDateTime(load_default=None)
    created_to = fields.AwareDateTime(load_default=None)
    tags = fields.List(
        fields.String(validate=validate.Length(min=1, max=50)),
        data_key="tag",
        load_default=list,
        validate=validate.Length(max=20),
    )
    sort = fields.String(
        load_default=None,
        validate=validate.OneOf(["created", "name", "size", "updated", "relevance"]),
    )
    order = fields.String(load_default=None, validate=validate.OneOf(["asc", "desc"]))

    @validates_schema
    def _relevant_to_something(self, data: dict[str, Any], **_: object) -> None:
        if data.get("sort") == "relevance" and data.get("q") is None:
            raise ValidationError({"sort": ["Give q, the words that documents are relevant to."]})


class ChangeDocument(Schema):
    """What is left out stays. ``tags`` replaces all of them."""

    name = fields.String()
    tags = fields.List(fields.String(), validate=validate.Length(max=1000))

    @validates_schema
    def _changes_something(self, data: dict[str, object], **_: object) -> None:
        if not data:
            raise ValidationError("Give name, tags or both.")


class TrashedDocument(Document):
    deleted_at = fields.AwareDateTime(required=True)
    deleted_by = fields.UUID(required=True)


class TrashPage(Schema):
    items = fields.List(fields.Nested(TrashedDocument), required=True)
    next_cursor = fields.String(allow_none=True, required=True)


class Purged(Schema):
    """How many documents are gone for good."""

    purged = fields.Integer(required=True)


class Version(Schema):
    """What a document held at some time; the highest number is what it holds now."""

    EXAMPLE: Final = {"content_type": "text/plain", "size": 5, "digest": _DIGEST}

    number = fields.Integer(required=True)
    content_type = fields.String(required=True)
    size = fields.Integer(required=True)
    digest = fields.String(required=True)
    created_by = fields.UUID(required=True)
    created_at = fields.AwareDateTime(required=True)


class VersionPage(Schema):
    items = fields.List(fields.Nested(Version), required=True)
    next_cursor = fields.String(allow_none=True, required=True)


def _different(ids: list[object]) -> None:
    if len(set(ids)) < len(ids):
        raise ValidationError("Give each id once.")


class BulkAction(Schema):
    """``tags`` belong to tag and untag."""

    action = fields.String(
        required=True,
        validate=validate.OneOf(["delete", "restore", "tag", "untag", "purge"]),
        metadata={"example": "tag"},
    )
    ids = fields.List(
        Id(),
        required=True,
        validate=[validate.Length(min=1, max=_MOST_AT_ONCE), _different],
    )
    tags = fields.List(
        fields.String(), load_default=list, validate=validate.Length(max=_MOST_AT_ONCE)
    )

    @validates_schema
    def _tags_where_they_belong(self, data: dict[str, object], **_: object) -> None:
        if (data["action"] in {"tag", "untag"}) != bool(data["tags"]):
            raise ValidationError({"tags": ["Give tags to tag and untag, and only to them."]})


class BulkOutcome(Schema):
    """``status`` is what the request for this one document would have answered."""

    EXAMPLE: Final = {"status": 200}

    id = fields.UUID(required=True)
    status = fields.Integer(required=True)
    code = fields.String(required=True, allow_none=True)


class BulkResult(Schema):
    results = fields.List(fields.Nested(BulkOutcome), required=True)


class ZipSelection(Schema):
    ids = fields.List(
        Id(), required=True, validate=[validate.Length(min=1, max=10_000), _different]
    )


class LinkQuery(Schema):
    """``expires_in`` in seconds, a day at most."""

    expires_in = QueryInteger(load_default=3600, validate=validate.Range(min=1, max=86_400))


class SignedLink(Schema):
    EXAMPLE: Final = {"url": "https://api.example.com/api/links/…"}

    url = fields.Url(required=True)
    expires_at = fields.AwareDateTime(required=True)


class Usage(Schema):
    """Bytes and documents; a limit is null where there is none.

    ``stored_bytes`` counts shared content once, ``logical_bytes`` in each version that holds it.
    ``documents`` are all, with those in the trash.
    """

    EXAMPLE: Final = {
        "stored_bytes": 5,
        "logical_bytes": 10,
        "documents": 2,
        "trashed_documents": 1,
        "versions": 2,
        "max_bytes": 1_000_000_000,
    }

    stored_bytes = fields.Integer(required=True)
    logical_bytes = fields.Integer(required=True)
    documents = fields.Integer(required=True)
    trashed_documents = fields.Integer(required=True)
    versions = fields.Integer(required=True)
    max_bytes = fields.Integer(required=True, allow_none=True)
    max_documents = fields.Integer(required=True, allow_none=True)


class Quota(Schema):
    """A tenant's own limits; null where the installation's holds. What is used, as it counts."""

    max_bytes = fields.Integer(required=True, allow_none=True)
    max_documents = fields.Integer(required=True, allow_none=True)
    used_bytes = fields.Integer(required=True)
    used_documents = fields.Integer(required=True)


def _own_limit() -> fields.Integer:
    return fields.Integer(
        required=True, allow_none=True, strict=True, validate=validate.Range(min=0, max=2**53)
    )


class ChangeQuota(Schema):
    """Null takes a limit back: the installation's holds again."""

    max_bytes = _own_limit()
    max_documents = _own_limit()


class NewUpload(Schema):
    """``size`` in bytes. With ``parts`` they come in about so many, of 5 MiB or more each."""

    name = fields.String(required=True)
    content_type = fields.String(load_default="application/octet-stream")
    size = fields.Integer(required=True, strict=True, validate=validate.Range(min=0, max=2**53))
    digest = fields.String(
        load_default=None,
        validate=validate.Regexp(r"\Asha256:[0-9a-f]{64}\Z"),
        metadata={"example": _DIGEST},
    )
    parts = fields.Integer(
        load_default=None, strict=True, validate=validate.Range(min=1, max=10_000)
    )


class PartNumbers(Schema):
    numbers = fields.List(
        fields.Integer(strict=True, validate=validate.Range(min=1, max=10_000)),
        required=True,
        validate=validate.Length(min=1, max=1000),
    )


class PartAddress(Schema):
    """PUT exactly ``size`` bytes to ``url``, which is good for an hour at most."""

    EXAMPLE: Final = {"size": 5, "url": "https://api.example.com/api/incoming/…"}

    number = fields.Integer(required=True)
    size = fields.Integer(required=True)
    url = fields.Url(required=True)


class PartAddresses(Schema):
    addresses = fields.List(fields.Nested(PartAddress), required=True)


class Upload(Schema):
    """``received`` are the numbers of the parts that arrived; an upload in one piece is part 1.

    ``addresses`` are for parts that are missing, a hundred at most. ``failure`` is the code of what
    last went wrong. ``document`` is there once ``state`` is completed, until it is deleted.
    """

    EXAMPLE: Final = {"name": "plans.txt", "content_type": "text/plain", "size": 5, "received": []}

    OF_THE_ROW = (
        *("id", "state", "failure", "name", "content_type", "size", "digest"),
        *("part_size", "part_count", "expires_at", "created_at", "updated_at"),
    )

    id = fields.UUID(required=True)
    state = fields.String(
        required=True, validate=validate.OneOf(["open", "verifying", "completed", "failed"])
    )
    failure = fields.String(required=True, allow_none=True)
    name = fields.String(required=True)
    content_type = fields.String(required=True)
    size = fields.Integer(required=True)
    digest = fields.String(required=True, allow_none=True)
    part_size = fields.Integer(required=True, allow_none=True)
    part_count = fields.Integer(required=True)
    expires_at = fields.AwareDateTime(required=True)
    active = fields.Boolean(required=True)
    created_at = fields.AwareDateTime(required=True)
    updated_at = fields.AwareDateTime(required=True)
    received = fields.List(fields.Integer(), required=True)
    addresses = fields.List(fields.Nested(PartAddress), required=True)
    document = fields.Nested(Document, required=True, allow_none=True)
