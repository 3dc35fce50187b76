"""Whether the connections that all processes may open fit into what the server accepts."""

import logging
from collections.abc import Iterator, Mapping
from typing import Final

from app.settings import Settings
from app.tenancy.server import Server, ServerUnavailable

logger = logging.getLogger(__name__)

# For migrations, provisioning, people with psql, and servers that end a little after their client.
HEADROOM: Final = 10
# PostgreSQL's default of superuser_reserved_connections.
_RESERVED: Final = 3


def connections_needed(settings: Settings) -> int:
    """The most that this installation's processes hold open, main database included."""
    return settings.process_count * _per_process(settings) + HEADROOM


def _per_process(settings: Settings) -> int:
    return settings.tenant_connection_budget + settings.main_pool_size + settings.platform_pool_size


def further_connections_needed(settings: Settings) -> int:
    """The same of a server that holds tenants and no main database."""
    return settings.process_count * settings.tenant_connection_budget + HEADROOM


def capacity_faults(
    server: Server, settings: Settings, *, further: Mapping[str, Server]
) -> Iterator[str]:
    """What a process would run into under load, at its own server and at each further one.

    A server that is away at this moment says nothing about its limit.
    """
    needed, accepted = connections_needed(settings), accepted_connections(server)
    if accepted is None:
        logger.warning("the tenants' server is away: its max_connections was not checked")
    elif needed > accepted:
        yield (
            f"PROCESS_COUNT x (TENANT_CONNECTION_BUDGET + MAIN_POOL_SIZE + PLATFORM_POOL_SIZE)"
            f" + {HEADROOM} = {needed} connections, and the server accepts {accepted}:"
            f" raise its max_connections or lower one of them. {_what_fits(settings, accepted)}"
        )
    for name, each in further.items():
        yield from further_faults(name, each, settings)


def further_faults(name: str, server: Server, settings: Settings) -> Iterator[str]:
    needed, accepted = further_connections_needed(settings), accepted_connections(server)
    if accepted is None:
        logger.warning("the server %s is away: its max_connections was not checked", name)
    elif needed > accepted:
        yield (
            f"PROCESS_COUNT x TENANT_CONNECTION_BUDGET + {HEADROOM} = {needed} connections,"
            f" and the server {name} accepts {accepted}:"
            " raise its max_connections or lower one of them."
        )


def accepted_connections(server: Server) -> int | None:
    """How many the server accepts of roles that are no superuser; None while it is away."""
    try:
        with server.connect_as_provisioner() as connection:
            row = connection.execute(
                "SELECT current_setting('max_connections')::int"
                " - current_setting('superuser_reserved_connections')::int"
            ).fetchone()
    except ServerUnavailable:
        return None
    return int(row[0]) if row else 0


def _what_fits(settings: Settings, accepted: int) -> str:
    processes = (accepted - HEADROOM) // _per_process(settings)
    beside = settings.process_count - settings.api_workers
    if processes > beside:
        return f"API_WORKERS = {processes - beside} would fit."
    others = settings.main_pool_size + settings.platform_pool_size
    budget = (accepted - HEADROOM) // settings.process_count - others
    if budget >= settings.tenant_connections_per_tenant:
        return f"TENANT_CONNECTION_BUDGET = {budget} would fit."
    return f"It would need max_connections of {connections_needed(settings) + _RESERVED}."
