"""A session on one tenant's database."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast
from uuid import UUID

from sqlalchemy import Connection, Engine, NullPool, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection

from app.core.db import PlaneSession, transaction, without_transaction
from app.core.questions import Question
from app.tenancy.locations import TenantLocation, located
from app.tenancy.models import TenantModel
from app.tenancy.server import Server


class TenantSession(PlaneSession):
    """Carries its tenant; each of its statements is compared with the connection's tenant."""

    plane = TenantModel.metadata

    def __init__(self, bind: Engine, location: TenantLocation) -> None:
        super().__init__(bind=bind, expire_on_commit=False)
        self.location = location
        self.tenant_id = location.tenant_id

    def another(self) -> "TenantSession":
        return TenantSession(self.get_bind(), self.location)

    def claim(self, connection: Connection) -> None:
        connection.execution_options(tenant=self.location.key)


class TenantReads(TenantSession):
    """Each of its statements stands alone: there is no transaction, and so nothing to write in."""

    def claim(self, connection: Connection) -> None:
        super().claim(connection)
        without_transaction(connection)

    def flush(self, objects: Any = None) -> None:
        if self.new or self.dirty or self.deleted:
            raise TypeError("a session that only reads has nothing to flush")
        super().flush(objects)


@dataclass(frozen=True, slots=True)
class TenantRows:
    """Asks the tenant's database single questions: no session, no transaction, no entities.

    For what is asked in every request.
    """

    engine: Engine
    location: TenantLocation

    @property
    def tenant_id(self) -> UUID:
        return self.location.tenant_id

    def ask(self, question: Question, values: Mapping[str, object]) -> list[Any]:
        """The rows, as tuples; see `Question.ask`."""
        with located(self.location):
            return question.ask(self.engine, values, tenant=self.location.key)


@contextmanager
def owner_session(server: Server, location: TenantLocation) -> Iterator[TenantSession]:
    """One transaction as the owner of the tenant's database: for what its role may only read.

    The owner may write where the tenant is read-only; whoever uses this keeps out of a move's way.

    Raises:
        ServerUnavailable: server or database cannot be reached.
    """

    def connect() -> DBAPIConnection:
        connection = server.connect_as_owner(location.database)
        connection.autocommit = False
        return cast("DBAPIConnection", connection)

    engine = create_engine(
        "postgresql+psycopg://", creator=connect, poolclass=NullPool, hide_parameters=True
    )
    with transaction(TenantSession(engine, replace(location, read_only=False))) as session:
        yield session


@event.listens_for(TenantSession, "after_begin", propagate=True)
def _claim(session: TenantSession, _transaction: Any, connection: Connection) -> None:
    session.claim(connection)
