"""A session on one tenant's database."""

from typing import Any

from sqlalchemy import Connection, Engine, event

from app.core.db import PlaneSession
from app.tenancy.locations import TenantLocation
from app.tenancy.models import TenantModel


class TenantSession(PlaneSession):
    """Carries its tenant; each of its statements is compared with the connection's tenant."""

    plane = TenantModel.metadata

    def __init__(self, bind: Engine, location: TenantLocation) -> None:
        super().__init__(bind=bind, expire_on_commit=False)
        self.location = location
        self.tenant_id = location.tenant_id

    def another(self) -> "TenantSession":
        return TenantSession(self.get_bind(), self.location)


@event.listens_for(TenantSession, "after_begin")
def _name_the_tenant(session: TenantSession, _transaction: Any, connection: Connection) -> None:
    connection.execution_options(tenant=session.location.database)
