"""The servers of the tenants' databases: which there are, how full they are, who goes where."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import select, text

from app.core.db import MainSession
from app.core.secrets import SecretBox
from app.domains.tenants.errors import (
    NoServerFree,
    NoSuchRegion,
    ServerInUse,
    ServerNotFound,
    ServerTaken,
)
from app.domains.tenants.models import ServerState, TenantServer
from app.tenancy.servers import DEFAULT_SERVER, sealed_for

# A narrow SECURITY DEFINER function: it counts what row level security hides.
_LOADS: Final = text("SELECT name, region, capacity, active, tenants FROM server_loads()")


_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,30}[a-z0-9]")


@dataclass(frozen=True, slots=True)
class ServerLoad:
    """A server and the tenants that lie on it; without a capacity there is no end to its room."""

    name: str
    region: str | None
    capacity: int | None
    active: bool
    tenants: int

    @property
    def free(self) -> int | None:
        return None if self.capacity is None else max(self.capacity - self.tenants, 0)


def loads(session: MainSession) -> Sequence[ServerLoad]:
    """Every server, by name."""
    rows = sorted(session.execute(_LOADS), key=lambda row: str(row[0]))
    return [ServerLoad(*row) for row in rows]


def place(session: MainSession, *, region: str | None = None, besides: str | None = None) -> str:
    """The server with the most room that takes new tenants, in the region where one is asked for.

    One without a capacity comes after all that have room. As many as are placed at the same moment
    may exceed a capacity.

    Raises:
        NoSuchRegion: no server is in it.
        NoServerFree: those that are there are full or draining.
    """
    found = [each for each in loads(session) if region is None or each.region == region]
    if not found:
        raise NoSuchRegion(f"There is no server in the region {region!r}.")
    free = [each for each in found if each.active and each.free != 0 and each.name != besides]
    if not free:
        raise NoServerFree("No server has room for another tenant.")
    return min(free, key=lambda each: (each.free is None, -(each.free or 0), each.name)).name


def add(
    session: MainSession,
    secrets: SecretBox,
    *,
    name: str,
    provisioner_url: str,
    region: str | None,
    capacity: int | None,
) -> TenantServer:
    """A further server, prepared before; its URL is kept sealed.

    Raises:
        ServerTaken: as `require_new`.
    """
    require_new(session, name)
    server = TenantServer(
        name=name,
        address=address_of(provisioner_url),
        sealed_url=secrets.seal(provisioner_url, context=sealed_for(name)),
        region=region,
        capacity=capacity,
        state=ServerState.ACTIVE,
    )
    session.add(server)
    return server


def require_new(session: MainSession, name: str) -> None:
    """Raises: ServerTaken: there is one of the name, or it is no name."""
    if not _NAME.fullmatch(name):
        raise ServerTaken(f"{name!r} is no name: use 2 to 32 of a-z, 0-9 and -.")
    if name == DEFAULT_SERVER or _named(session, name) is not None:
        raise ServerTaken(f"There is a server {name!r}.")


def change(
    session: MainSession,
    *,
    name: str,
    default_url: str,
    state: ServerState | None = None,
    region: str | None = None,
    capacity: int | None = None,
) -> TenantServer:
    """What is given is changed; the default server gets its row by that.

    Raises:
        ServerNotFound: there is none of the name.
    """
    server = _named(session, name)
    if server is None and name == DEFAULT_SERVER:
        server = TenantServer(name=name, address=address_of(default_url), state=ServerState.ACTIVE)
        session.add(server)
    if server is None:
        raise ServerNotFound(f"There is no server {name!r}.")
    server.state = state or server.state
    server.region = region or server.region
    server.capacity = server.capacity if capacity is None else capacity
    return server


def remove(session: MainSession, *, name: str) -> None:
    """Forgets a server on which nothing lies.

    Raises:
        ServerNotFound: there is none of the name, or it is the default one.
        ServerInUse: tenants lie on it.
    """
    server = _named(session, name)
    if server is None or name == DEFAULT_SERVER:
        raise ServerNotFound(f"There is no further server {name!r}.")
    [load] = [each for each in loads(session) if each.name == name]
    if load.tenants:
        raise ServerInUse(f"{load.tenants} tenant(s) lie on {name}; move them first.")
    session.delete(server)


def sealed(session: MainSession) -> dict[str, str]:
    rows = session.execute(
        select(TenantServer.name, TenantServer.sealed_url).where(
            TenantServer.sealed_url.is_not(None)
        )
    )
    return {name: url for name, url in rows if url is not None}


def _named(session: MainSession, name: str) -> TenantServer | None:
    return session.scalar(select(TenantServer).where(TenantServer.name == name))


def address_of(url: str) -> str:
    """Host and port, without any secret."""
    given = conninfo_to_dict(url)
    return f"{given.get('host') or urlsplit(url).hostname or 'local'}:{given.get('port', 5432)}"
