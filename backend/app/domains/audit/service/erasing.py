"""Erasing a person: the personal part of what the trails hold of somebody goes, the chains stay.

Address and details are in a chain by their digest with a salt alone. They and the salt are taken
out, so that nobody can try out what they were, and an entry says how often. It takes the owner of
the tables: no role that the product runs as can do it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from app.core import ids
from app.core.db import main_as_owner
from app.core.events import current_origin
from app.domains.audit.events import PersonErased, TrailSealed
from app.domains.audit.service import sealing
from app.domains.audit.service.recording import row_of
from app.integrations.storage import Storage
from app.settings import Settings
from app.tenancy.manager import TenantDatabaseManager
from app.tenancy.server import Connection

# Verifying reads these; none is about a person but for who did it.
_KEPT: Final = [PersonErased.type, TrailSealed.type, "tenant.database_swapped"]
_ABOUT: Final = """
    erased_by IS NULL AND type <> ALL(%(kept)s) AND (
        user_id = %(user_id)s::uuid OR on_behalf_of = %(user_id)s::uuid
        OR target = ANY(%(names)s::text[])
        OR EXISTS (
            SELECT FROM unnest(%(names)s::text[]) name
            WHERE jsonb_path_exists(
                lower(details::text)::jsonb, '$.** ? (@ == $name)', jsonb_build_object('name', name)
            )
        )
    )
"""
_COUNT: Final = "SELECT count(*) FROM {table} WHERE {about}"
_ERASE: Final = """
    WITH erased AS (
        UPDATE {table} SET address = NULL, details = '{{}}', salt = NULL, erased_by = %(entry)s
        WHERE {about} RETURNING 1
    )
    SELECT count(*) FROM erased
"""
_COLUMNS: Final = (
    "%(id)s, %(type)s, %(target)s, %(user_id)s::uuid, %(on_behalf_of)s::uuid, %(session_id)s::uuid,"
    " %(address)s, %(request_id)s, %(task)s, %(details)s::jsonb"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Known by the account's id, if there was one, and by e-mail addresses, former ones too."""

    user_id: UUID | None
    addresses: Sequence[str] = ()

    def names(self) -> list[str]:
        own = [] if self.user_id is None else [str(self.user_id)]
        return own + [address.lower() for address in self.addresses]


def erase_from_tenant(
    manager: TenantDatabaseManager,
    settings: Settings,
    *,
    tenant_id: UUID,
    person: Person,
    apply: bool,
) -> int:
    """How many entries of the tenant's trail were erased, or would be.

    Raises:
        TenantGone, TenantClosed, ServerUnavailable, TenantUnavailable: see `sealing.seal_tenant`.
    """
    with sealing.held_still(manager, tenant_id) as (location, connection):
        if not apply:
            return _count(connection, "audit_entries", person)
        with connection.transaction():
            count = _erase(connection, "audit_entries", _COLUMNS, person)
            _, head, head_hash = sealing.seal(connection)
        if count:
            sealing.say(settings, location, head, head_hash.hex())
    return count


def erase_from_platform(
    storage: Storage, settings: Settings, *, owner_url: str, person: Person, apply: bool
) -> int:
    """The same in the platform's trail, as the owner of the main database's tables."""
    with main_as_owner(owner_url) as connection:
        if not apply:
            return _count(connection, "platform_audit_entries", person)
        count = _erase(connection, "platform_audit_entries", f"{_COLUMNS}, NULL::uuid", person)
        sealing.seal(connection)
    if count:
        sealing.seal_platform(storage, settings)
    return count


def _count(connection: Connection, table: str, person: Person) -> int:
    return int(_first(connection, _COUNT.format(table=table, about=_ABOUT), _about(person))[0])


def _erase(connection: Connection, table: str, columns: str, person: Person) -> int:
    """Its entry has to be sealed in the same transaction: an erasure without one is a fault."""
    entry = ids.new_id()
    values = _about(person) | {"entry": entry}
    count = int(_first(connection, _ERASE.format(table=table, about=_ABOUT), values)[0])
    if count:
        told = PersonErased(person=str(person.user_id or entry), entries=count)
        row = row_of(told, current_origin()) | {"id": entry}
        _first(connection, f"SELECT audit_record({columns})", row)
    return count


def _about(person: Person) -> dict[str, Any]:
    return {"kept": _KEPT, "user_id": person.user_id, "names": person.names()}


def _first(connection: Connection, query: str, values: Mapping[str, Any]) -> tuple[Any, ...]:
    return connection.execute(query.encode(), values).fetchone() or ()
