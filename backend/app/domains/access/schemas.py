"""What access gives over HTTP."""

from marshmallow import Schema, fields


class Roles(Schema):
    """Each role's permissions, ``resource:action``."""

    roles = fields.Dict(keys=fields.String(), values=fields.List(fields.String()), required=True)
