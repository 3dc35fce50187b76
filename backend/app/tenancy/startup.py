"""What a process asks of its servers before it serves."""

import logging
from collections.abc import Iterator, Mapping
from typing import Final

import psycopg
from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from app.core.db import db
from app.core.errors import AppError
from app.settings import Environment, InvalidSettings, Settings
from app.tenancy.capacity import capacity_faults
from app.tenancy.server import Server
from app.tenancy.servers import DEFAULT_SERVER, Servers

logger = logging.getLogger(__name__)

_URLS: Final = ("database_url", "database_owner_url", "database_platform_url", "provisioner_url")
# Roles that a session could become by SET ROLE count as much as the one that it begins as.
_UNBOUND: Final = """
    SELECT string_agg(rolname, ', ' ORDER BY rolname) FROM pg_roles
    WHERE (rolsuper OR rolbypassrls) AND pg_has_role(current_user, oid, 'MEMBER')
"""


def check_process(app: Flask, settings: Settings) -> None:
    """As `check_servers`, with every further server that the registry knows."""
    manager = app.extensions["tenancy"]
    with app.app_context():
        further = _further(manager.servers)
        for engine in db.engines.values():
            engine.dispose()  # a process that is forked off would share what it asked with
        check_servers(manager.server, settings, further=further)


def _further(servers: Servers) -> Mapping[str, Server]:
    try:
        known = servers.all()
    except (AppError, SQLAlchemyError) as error:
        logger.warning("further servers were not checked", extra={"reason": type(error).__name__})
        return {}
    return {name: server for name, server in known.items() if name != DEFAULT_SERVER}


def check_servers(
    server: Server, settings: Settings, *, further: Mapping[str, Server] | None = None
) -> None:
    """Refuses to start a process that its servers would not hold, or that they could not bind.

    A server that is away at this moment says nothing: the process starts.

    Raises:
        InvalidSettings: with one line for each fault.
    """
    faults = [*capacity_faults(server, settings, further=further or {})]
    if settings.environment == Environment.PRODUCTION:
        faults += _role_faults(settings)
    if faults:
        raise InvalidSettings("\n".join(["The servers refuse:", *(f"  {each}" for each in faults)]))


def _role_faults(settings: Settings) -> Iterator[str]:
    for name in _URLS:
        url = getattr(settings, name)
        if url is None:
            continue
        try:
            with psycopg.connect(
                url.get_secret_value(), connect_timeout=settings.connect_timeout
            ) as connection:
                row = connection.execute(_UNBOUND).fetchone()
        except psycopg.OperationalError:
            logger.warning("%s: its server is away, the role was not checked", name.upper())
        else:
            if row and row[0]:
                yield (
                    f"{name.upper()}: its role can act as {row[0]}, which row level security or"
                    " permissions do not bind; use the roles that bootstrap_server.py makes"
                )
