"""What exports take and give over HTTP."""

from marshmallow import Schema, fields, validate

from app.core.fields import QueryInteger
from app.domains.backups.models import ExportState


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
