"""What backups and exports take and give over HTTP."""

from typing import Final

from marshmallow import Schema, fields, validate

from app.core.fields import QueryInteger
from app.domains.backups.models import BackupState, ExportState


class Backup(Schema):
    """``proven_at`` is when it was last restored and found equal, ``proof_failure`` why it was not.

    ``bytes`` are those in the store, sealed.
    """

    EXAMPLE: Final = {"origin": "scheduled", "state": "complete", "revision": "0013"}

    id = fields.UUID(required=True)
    origin = fields.String(required=True, validate=validate.OneOf(["asked", "scheduled"]))
    state = fields.String(
        required=True, validate=validate.OneOf([each.value for each in BackupState])
    )
    revision = fields.String(required=True, allow_none=True)
    rows = fields.Integer(required=True, allow_none=True)
    files = fields.Integer(required=True, allow_none=True)
    bytes = fields.Integer(required=True, allow_none=True)
    failure = fields.String(required=True, allow_none=True)
    created_at = fields.AwareDateTime(required=True)
    finished_at = fields.AwareDateTime(required=True, allow_none=True)
    proven_at = fields.AwareDateTime(required=True, allow_none=True)
    proof_failure = fields.String(required=True, allow_none=True)


class BackupPage(Schema):
    items = fields.List(fields.Nested(Backup), required=True)
    next_cursor = fields.String(allow_none=True, required=True)


class Export(Schema):
    """An archive of all of a tenant's data, of ``bytes`` once it is ready, until ``expires_at``."""

    id = fields.UUID(required=True)
    state = fields.String(
        required=True, validate=validate.OneOf([each.value for each in ExportState])
    )
    requested_by = fields.UUID(required=True)
    bytes = fields.Integer(required=True, allow_none=True)
    failure = fields.String(required=True, allow_none=True)
    created_at = fields.AwareDateTime(required=True)
    finished_at = fields.AwareDateTime(required=True, allow_none=True)
    expires_at = fields.AwareDateTime(required=True)


class ExportPage(Schema):
    items = fields.List(fields.Nested(Export), required=True)
    next_cursor = fields.String(allow_none=True, required=True)


class ExportLinkQuery(Schema):
    """``expires_in`` in seconds, a day at most."""

    expires_in = QueryInteger(load_default=3600, validate=validate.Range(min=1, max=86_400))


class ExportLink(Schema):
    url = fields.Url(required=True)
    expires_at = fields.AwareDateTime(required=True)
