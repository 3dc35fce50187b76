"""Jobs about directories."""

from datetime import timedelta
from typing import cast
from uuid import UUID

from flask import current_app

from app.core.db import platform_session
from app.core.tasks import periodic, task
from app.domains.sso.service import Ports, connections, upkeep
from app.settings import current_settings


@periodic(name="sso.schedule_refreshes", every=timedelta(minutes=1), queue="sso", plane=None)
def schedule_refreshes() -> None:
    """Finds the tokens that expire soon, and gives each a job."""
    with platform_session() as session:
        upkeep.schedule_refreshes(session, current_settings())


@task(name="sso.refresh_identity", queue="sso", plane=None)
def refresh_identity(identity: str, tenant: str) -> None:
    """Renews one person's tokens, unless somebody has done so."""
    ports = cast("Ports", current_app.extensions["sso"])
    connections.renew(ports, tenant_id=UUID(tenant), identity_id=UUID(identity))


@periodic(name="sso.clean_up", every=timedelta(hours=1), queue="sso", plane=None)
def clean_up() -> None:
    """Forgets whom no tenant knows, tokens that will never be used, and old failures."""
    with platform_session() as session:
        upkeep.clean_up(session, current_settings())
