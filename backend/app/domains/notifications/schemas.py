"""What notifications take and give over HTTP."""

from typing import Any, Final

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from app.core.fields import Id
from app.core.pages import PageQuery
from app.domains.notifications.policy import KINDS


class NotificationQuery(PageQuery):
    """With ``unread=true`` only those that are not read yet."""

    unread = fields.Boolean(load_default=False, truthy={"true"}, falsy={"false"})


class Notification(Schema):
    """``title`` and ``text`` are plain text. ``subject`` is the id of what it is about."""

    EXAMPLE: Final = {
        "kind": "user.role_changed",
        "title": "Your role in Acme is admin",
        "text": 'Alice changed your role in "Acme" from user to admin.',
        "read_at": None,
    }

    id = fields.UUID(required=True)
    kind = fields.String(required=True)
    tenant_id = fields.UUID(required=True, allow_none=True)
    subject = fields.String(required=True)
    title = fields.String(required=True)
    text = fields.String(required=True)
    created_at = fields.AwareDateTime(required=True)
    read_at = fields.AwareDateTime(required=True, allow_none=True)


class NotificationPage(Schema):
    """``unread`` are all, on this page or not."""

    items = fields.List(fields.Nested(Notification), required=True)
    next_cursor = fields.String(allow_none=True, required=True)
    unread = fields.Integer(required=True)


class MarkNotification(Schema):
    read = fields.Boolean(required=True, truthy={True}, falsy={False})


class MarkAll(Schema):
    """``up_to`` is the newest that was seen; without it, all are marked."""

    up_to = Id(load_default=None)


class Marked(Schema):
    """How many became read."""

    marked = fields.Integer(required=True)


class Preference(Schema):
    """``fixed`` ones concern the safety of the account and cannot be changed."""

    EXAMPLE: Final = {"kind": "document.link_created", "mail": False}

    kind = fields.String(required=True)
    in_app = fields.Boolean(required=True)
    mail = fields.Boolean(required=True)
    fixed = fields.Boolean(required=True)


class PreferenceList(Schema):
    items = fields.List(fields.Nested(Preference), required=True)


class ChangePreference(Schema):
    """What is left out stays."""

    kind = fields.String(required=True, validate=validate.OneOf(list(KINDS)))
    in_app = fields.Boolean(truthy={True}, falsy={False})
    mail = fields.Boolean(truthy={True}, falsy={False})

    @validates_schema
    def _changes_something(self, data: dict[str, Any], **_: object) -> None:
        if not {"in_app", "mail"} & set(data):
            raise ValidationError("Give in_app, mail or both.")


def _different(changes: list[dict[str, Any]]) -> None:
    if len({change["kind"] for change in changes}) < len(changes):
        raise ValidationError("Give each kind once.")


class ChangePreferences(Schema):
    items = fields.List(
        fields.Nested(ChangePreference),
        required=True,
        validate=[validate.Length(min=1, max=100), _different],
    )
