"""What is asked of the audit trails over HTTP, and what they give."""

from typing import Any, Final

from marshmallow import Schema, fields, post_load, validate, validates_schema
from marshmallow.exceptions import ValidationError

from app.core.fields import Id
from app.core.pages import PageQuery
from app.domains.audit.queries import Filters

_NAMES = ("actor", "actions", "target", "since", "until", "tenant_id")


class _Filtered(Schema):
    actor = Id(load_default=None)
    actions = fields.List(
        fields.String(
            validate=validate.Regexp(
                r"^[a-z][a-z_]{0,62}\.(?:\*|[a-z][a-z_]{0,62})\Z",
                error="Use an action (document.updated), or a family of them (document.*).",
            )
        ),
        data_key="action",
        load_default=list,
        validate=validate.Length(max=20),
    )
    target = fields.String(load_default=None, validate=validate.Length(min=1, max=255))
    since = fields.AwareDateTime(load_default=None)
    until = fields.AwareDateTime(load_default=None)

    @validates_schema
    def _period_is_one(self, data: dict[str, Any], **_: Any) -> None:
        since, until = data.get("since"), data.get("until")
        if since is not None and until is not None and since >= until:
            raise ValidationError("It has to be later than since.", "until")

    @post_load
    def _collect(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        given = {name: data.pop(name) for name in _NAMES if name in data}
        return data | {"filters": Filters(**given)}


class _OfAnyTenant(_Filtered):
    tenant_id = Id(load_default=None)


class EntryQuery(_Filtered, PageQuery):
    """Filters narrow down together; an ``action`` may be given several times.

    ``actor`` is a user's id, and finds what was done on that user's behalf as well. ``action`` may
    end in ``.*``. ``target`` is the id of what it was done to. ``since`` is in, ``until`` is not.
    """


class PlatformEntryQuery(_OfAnyTenant, PageQuery):
    """As for a tenant's trail; ``tenant_id`` narrows down to what concerns one tenant."""


class _AsFile(Schema):
    form = fields.String(
        data_key="format", load_default="jsonl", validate=validate.OneOf(["csv", "jsonl"])
    )


class ExportQuery(_Filtered, _AsFile):
    """Filters as for the list; ``format`` is csv or jsonl."""


class PlatformExportQuery(_OfAnyTenant, _AsFile):
    """Filters as for the list; ``format`` is csv or jsonl."""


class Entry(Schema):
    """One event: who, what, when, from where, and on whose behalf where a job did it.

    ``trail`` says whether it lies in the tenant's own trail or in the platform's. ``position`` and
    ``hash`` are there once it is sealed. Where ``erased_by`` names an entry, address and details
    were taken out for good, by what that entry tells of. What the platform's administrators did
    says ``by_platform`` in its details, and no address.
    """

    EXAMPLE: Final = {
        "type": "document.downloaded",
        "target": "01a1fce7-3c5e-7d6b-9d2e-4f8a1b2c3d4e",
        "user_id": "01a1fce7-0000-7000-8000-000000000000",
        "address": "192.0.2.1",
        "details": {"version": 1},
    }

    id = fields.UUID(required=True)
    recorded_at = fields.AwareDateTime(required=True)
    trail = fields.String(required=True)
    type = fields.String(required=True)
    target = fields.String(required=True)
    user_id = fields.UUID(required=True, allow_none=True)
    on_behalf_of = fields.UUID(required=True, allow_none=True)
    session_id = fields.UUID(required=True, allow_none=True)
    address = fields.String(required=True, allow_none=True, attribute="address_for_tenant")
    request_id = fields.String(required=True, allow_none=True)
    task = fields.String(required=True, allow_none=True)
    details = fields.Dict(required=True)
    position = fields.Integer(required=True, allow_none=True)
    hash = fields.String(required=True, allow_none=True, attribute="hash_hex")
    erased_by = fields.UUID(required=True, allow_none=True)


class EntryPage(Schema):
    items = fields.List(fields.Nested(Entry), required=True)
    next_cursor = fields.String(allow_none=True, required=True)


class PlatformEntry(Entry):
    """As in a tenant's trail; ``tenant_id`` is of the tenant that it concerns."""

    address = fields.String(required=True, allow_none=True)
    tenant_id = fields.UUID(required=True, allow_none=True)


class PlatformEntryPage(Schema):
    items = fields.List(fields.Nested(PlatformEntry), required=True)
    next_cursor = fields.String(allow_none=True, required=True)


class Statement(Schema):
    """At this time the trail, in this database, ended at this position with this hash.

    ``trail`` is the tenant's id, or "platform".
    """

    installation = fields.String(required=True)
    trail = fields.String(required=True)
    database = fields.String(required=True)
    position = fields.Integer(required=True)
    hash = fields.String(required=True)
    sealed_at = fields.String(required=True)


class Checkpoint(Schema):
    """``signature`` is Ed25519's over the statement; the key's digest begins with ``key``."""

    statement = fields.Nested(Statement, required=True)
    key = fields.String(required=True)
    signature = fields.String(required=True)


class CheckpointPage(Schema):
    items = fields.List(fields.Nested(Checkpoint), required=True)
    next_cursor = fields.String(allow_none=True, required=True)


class Checkpoints(Schema):
    items = fields.List(fields.Nested(Checkpoint), required=True)
