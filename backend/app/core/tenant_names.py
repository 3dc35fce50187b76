"""How a request names its tenant: by path, header, subdomain or custom domain.

The path says the tenant's UUID, or ``current``: the one that header or host name. Where several
ways are used, they must agree. Nothing here asks a database; whether the names are anybody's, and
the same one's, is decided where access is (`Edge.identify`).
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal
from uuid import UUID

from flask import Flask, Request, current_app
from werkzeug.routing import BaseConverter

from app.core.errors import BadRequest
from app.core.proxies import parse_address
from app.settings import Settings

HEADER: Final = "X-Tenant-Slug"
CURRENT: Final = "current"
_VARIABLE: Final = "HTTP_X_TENANT_SLUG"
_PORT: Final = re.compile(r":\d*\Z")


class TenantMismatch(BadRequest):
    """Path, header and host do not name the same tenant."""

    code = "tenant_mismatch"

    def __init__(self) -> None:
        super().__init__("Path, header and host name different tenants; name one.")


class TenantNotNamed(BadRequest):
    """The path says ``current``, and nothing says which tenant that is."""

    code = "tenant_not_named"


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantName:
    """The names that a request gives its tenant; at least one is there."""

    id: UUID | None = None
    slug: str | None = None
    domain: str | None = None


class TenantConverter(BaseConverter):
    """``<tenant:tenant_id>`` in a route; its view gets the UUID, whatever the path said."""

    part_isolating = True
    regex = rf"{CURRENT}|[A-Fa-f0-9]{{8}}-(?:[A-Fa-f0-9]{{4}}-){{3}}[A-Fa-f0-9]{{12}}"

    def to_python(self, value: str) -> Any:
        return CURRENT if value == CURRENT else UUID(value)


class TenantNames:
    """Reads the names from requests; knows which hosts are the product's own."""

    def __init__(self, *, public_host: str, base_domain: str | None) -> None:
        self._own = {public_host, base_domain}
        self._below = None if base_domain is None else f".{base_domain}"
        self._of_host = lru_cache(maxsize=4096)(self._named_by)

    def of(self, request: Request, path: UUID | Literal["current"] | None) -> TenantName | None:
        """The tenant's names, or None for a route that is of no tenant.

        Raises:
            TenantNotNamed: the path says ``current``, and neither header nor host name a tenant.
            TenantMismatch: header and subdomain differ.
        """
        if path is None:
            return None
        tenant_id = path if isinstance(path, UUID) else None
        given = request.environ.get(_VARIABLE, "").strip().lower() or None
        subdomain, domain = self._of_host(request.environ.get("HTTP_HOST") or request.host)
        if given and subdomain and given != subdomain:
            raise TenantMismatch
        slug = given or subdomain
        if tenant_id is None and slug is None and domain is None:
            raise TenantNotNamed(f"Name the tenant: by {HEADER}, or by its domain.")
        return TenantName(id=tenant_id, slug=slug, domain=domain)

    def _named_by(self, host: str) -> tuple[str | None, str | None]:
        """The slug or else the domain that a Host header names, if it names any tenant."""
        name = _PORT.sub("", host).rstrip(".").lower()
        if name in self._own:
            return None, None
        if self._below is not None and name.endswith(self._below):
            return name.removesuffix(self._below), None
        return None, name if _may_be_a_domain(name) else None


def init_app(app: Flask, settings: Settings) -> None:
    app.url_map.converters["tenant"] = TenantConverter
    app.extensions["tenant_names"] = TenantNames(
        public_host=settings.public_host, base_domain=settings.tenant_base_domain
    )


def current_tenant_names() -> TenantNames:
    names: TenantNames = current_app.extensions["tenant_names"]
    return names


def _may_be_a_domain(name: str) -> bool:
    """Addresses and names without a dot are how machines and people reach the API itself."""
    return "." in name and parse_address(name.strip("[]")) is None
