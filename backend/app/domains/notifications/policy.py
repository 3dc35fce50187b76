"""Which events people are told of, whom, and how, unless they want it otherwise."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

from app.domains.notifications.models import NotificationPreference

# Managers are a tenant's owners and administrators. Any other word names the field of the event's
# data that holds the person's id.
Whom = Literal["managers", "user_id", "owner_id", "invited_by"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """``mail`` is the default. ``fixed``: it concerns the safety of an account, and is told."""

    whom: Whom
    mail: bool
    fixed: bool = False


KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "tenant.suspended": Kind(whom="managers", mail=True),
        "tenant.resumed": Kind(whom="managers", mail=True),
        "tenant.deleted": Kind(whom="managers", mail=True),
        "tenant.restored": Kind(whom="managers", mail=True),
        "user.role_changed": Kind(whom="user_id", mail=True),
        "member.removed": Kind(whom="user_id", mail=True),
        "invitation.accepted": Kind(whom="invited_by", mail=False),
        "document.link_created": Kind(whom="owner_id", mail=False),
        "document.version_added": Kind(whom="owner_id", mail=False),
        "document.deleted": Kind(whom="owner_id", mail=False),
        "webhook.disabled": Kind(whom="managers", mail=True),
        "password.changed": Kind(whom="user_id", mail=True, fixed=True),
        "password.reset": Kind(whom="user_id", mail=True, fixed=True),
        "session.revoked": Kind(whom="user_id", mail=True, fixed=True),
    }
)
# What people did themselves is no news to them: of these events, only those where the field has one
# of the values.
NEWS_ONLY: Final[Mapping[str, tuple[str, frozenset[str]]]] = MappingProxyType(
    {
        "session.revoked": ("reason", frozenset({"replayed"})),
        "webhook.disabled": ("reason", frozenset({"failing", "gone"})),
    }
)


def kind_of(event_type: str) -> str:
    """That of "tenant.suspended.v1" is "tenant.suspended"."""
    return event_type.rpartition(".")[0]


def is_news(kind: str, data: Mapping[str, Any]) -> bool:
    field, values = NEWS_ONLY.get(kind, (None, frozenset()))
    return field is None or data.get(field) in values


@dataclass(frozen=True, slots=True)
class Channels:
    in_app: bool
    mail: bool


def channels(kind: Kind, wish: NotificationPreference | None) -> Channels:
    """Where somebody is told, who has this wish or none."""
    if wish is None or kind.fixed:
        return Channels(in_app=True, mail=kind.mail)
    return Channels(in_app=wish.in_app, mail=wish.mail)
