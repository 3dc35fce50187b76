"""Audits how tenants are kept apart: by the catalogs, and by trying each tenant's own login."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Final
from uuid import UUID

import psycopg
from psycopg.conninfo import conninfo_to_dict

from app.core import clock
from app.core.db import platform_session
from app.core.errors import Unavailable
from app.domains.fleet.service.parallel import in_parallel
from app.domains.tenants.service import ledger
from app.domains.tenants.service.ledger import FleetEntry
from app.settings import Settings
from app.tenancy import migrations
from app.tenancy.inspection import attempts
from app.tenancy.inspection.isolation import Breach, audit_database, audit_server
from app.tenancy.manager import TenantDatabaseManager
from app.tenancy.servers import DEFAULT_SERVER

_SHUT_OUT: Final = ("suspended", "deleted")
_MAINTENANCE: Final = ("postgres", "template1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """``breaches`` are of this installation, ``warnings`` of what else lies on its server."""

    installation: str
    started_at: datetime
    finished_at: datetime
    tenants: int
    attempts: int
    breaches: Sequence[Breach]
    warnings: Sequence[Breach]


@dataclass(frozen=True, slots=True)
class _Target:
    """A tenant, and the next one, whose database and role it is tried on."""

    entry: FleetEntry
    stranger: str


def audit(
    manager: TenantDatabaseManager,
    settings: Settings,
    *,
    jobs: int,
    tenant_ids: Sequence[UUID] | None = None,
    tell: Callable[[int, int], None],
) -> Audit:
    """Everybody, or those of the ids; ``tell`` gets how many are done, and of how many.

    A tenant is tried at its neighbour's door; that no other pair is open is in the catalogs.

    Raises:
        ServerUnavailable: the server is away, and nothing can be said.
    """
    started_at = clock.now()
    main_database = str(conninfo_to_dict(settings.database_url.get_secret_value())["dbname"])
    with platform_session() as session:
        everybody = ledger.with_database(session)
    found = [
        breach
        for name, server in manager.servers.all().items()
        for breach in audit_server(
            server,
            main_database,
            [entry.location for entry in everybody if entry.location.server == name],
        )
    ]
    targets = _targets(everybody, tenant_ids)
    doors = (*_MAINTENANCE, manager.installation.template(migrations.head()))
    outcomes = in_parallel(
        lambda each: _examine(manager, each, (main_database, *doors)), targets, jobs=jobs
    )
    for done, breaches in enumerate(outcomes, start=1):
        found += breaches
        tell(done, len(targets))
    return Audit(
        installation=manager.installation.id,
        started_at=started_at,
        finished_at=clock.now(),
        tenants=len(targets),
        attempts=len(targets) * attempts.attempts_per_tenant(len(doors) + 2),
        breaches=[each for each in found if each.ours],
        warnings=[each for each in found if not each.ours],
    )


def _targets(everybody: Sequence[FleetEntry], tenant_ids: Sequence[UUID] | None) -> list[_Target]:
    """Each with the next of its server in a ring; who is alone has only itself to intrude on."""
    by_server: dict[str, list[FleetEntry]] = {}
    for entry in everybody:
        by_server.setdefault(entry.location.server, []).append(entry)
    return [
        _Target(entry, neighbour.location.database)
        for here in by_server.values()
        for entry, neighbour in pairwise([*here, *here[:1]])
        if tenant_ids is None or entry.tenant_id in tenant_ids
    ]


def _examine(
    manager: TenantDatabaseManager, target: _Target, doors: tuple[str, ...]
) -> list[Breach]:
    """Runs in a thread of its own. A tenant that cannot be examined is a finding, not a pass.

    The first door is the main database's, which lies on the default server.
    """
    location = target.entry.location
    if location.server != DEFAULT_SERVER:
        doors = doors[1:]
    alone = target.stranger == location.database
    stranger = manager.installation.app if alone else target.stranger
    try:
        return [
            *audit_database(manager.server_of(location), location),
            *manager.attack_as(
                location,
                doors=doors if alone else (target.stranger, *doors),
                stranger=stranger,
                shut_out=target.entry.state in _SHUT_OUT,
            ),
        ]
    except (Unavailable, psycopg.Error) as error:
        words = f"{location.database} could not be examined: {str(error).strip()}"
        return [Breach("not examined", location.database, words)]
