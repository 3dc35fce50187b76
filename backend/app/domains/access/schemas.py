"""What access gives over HTTP."""

from typing import Final

from marshmallow import Schema, fields


class Roles(Schema):
    """Each role's permissions, ``resource:action``."""

    EXAMPLE: Final = {"roles": {"viewer": ["documents:read", "members:read"]}}

    roles = fields.Dict(keys=fields.String(), values=fields.List(fields.String()), required=True)
