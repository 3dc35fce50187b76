"""How the benchmarks sign in: a person at the API, and a peer at a tenant's database."""

from typing import Any
from uuid import UUID

from psycopg.conninfo import make_conninfo

from app.core import tokens
from app.core.db import main_session
from app.domains.identity.models import User
from app.domains.identity.service import sessions
from app.tenancy.credentials import Credentials
from app.tenancy.locations import TenantLocation
from stage import Stage


def token(stage: Stage, owner: UUID) -> str:
    """An access token of a session that is opened for it."""
    with main_session(user_id=owner) as session:
        opened = sessions.open_session(
            session,
            stage.settings,
            user=session.get_one(User, owner),
            method="password",
            address=None,
            user_agent=None,
        )
    return tokens.issue(user_id=owner, session_id=opened.session_id)


def conninfo(stage: Stage, location: TenantLocation) -> str:
    """The tenant's own login, with libpq's own derivation of its keys: once per connection."""
    sealed = stage.secrets.open(location.sealed_credentials, context=location.context)
    with stage.manager.tenant_reads(location) as session:
        driver: Any = session.connection().connection.driver_connection
        return make_conninfo(driver.info.dsn, password=Credentials.loads(sealed).password)
