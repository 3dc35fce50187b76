"""An installation whose trails may be tampered with."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

import pytest

from app.core import events, ids
from app.core.events import Event
from app.domains.audit.service import sealing, verification
from app.domains.audit.service.checkpoints import Verifier
from app.domains.audit.service.findings import Verdict
from app.integrations.storage import Storage, current_storage
from tests.cast import House
from tests.tenancy.attacks import Connection
from tests.tenancy.laboratory import Laboratory, laboratory

# Makes a tenant with so many sealed entries.
Trail = Callable[[int], House]


@dataclass(frozen=True, kw_only=True)
class PlanDrawn(Event):
    type: ClassVar[str] = "plan.drawn"
    target: ClassVar[str] = "plan_id"

    plan_id: UUID
    colour: str
    tenant_id: UUID | None = None


@dataclass(frozen=True)
class Archive:
    """The trails of a laboratory, and what is done with them. Needs its application context."""

    lab: Laboratory

    @property
    def storage(self) -> Storage:
        return current_storage()

    def draw(self, house: House, colour: str = "blue") -> UUID:
        """Something to be remembered."""
        plan = ids.new_id()
        with self.lab.manager.tenant_db_session(house.database) as session:
            events.record(session, PlanDrawn(plan_id=plan, colour=colour))
        return plan

    def seal(self, house: House) -> int:
        return sealing.seal_tenant(self.lab.manager, self.lab.settings, tenant_id=house.id)

    def seal_platform(self) -> int:
        return sealing.seal_platform(self.storage, self.lab.settings)

    def verify(self, house: House, verifier: Verifier | None = None) -> Verdict:
        known = Verifier.of(self.lab.settings) if verifier is None else verifier
        return verification.verify_tenant(self.lab.manager, known, tenant_id=house.id)

    def verify_platform(self) -> Verdict:
        return verification.verify_platform(
            self.storage,
            Verifier.of(self.lab.settings),
            installation=self.lab.installation.id,
        )

    def as_owner(self, house: House) -> Connection:
        """Who may do anything in the tenant's database."""
        return self.lab.manager.server.connect_as_owner(house.database)

    def as_main_superuser(self) -> Connection:
        return self.lab.as_superuser(self.lab.installation.id)


@pytest.fixture(scope="package")
def archive(
    server_urls: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Archive]:
    many = {"api_workers": 1, "process_count": 1, "tenant_connections_per_tenant": 20}
    folder = tmp_path_factory.mktemp("audit")
    with laboratory(server_urls, folder, **many) as lab, lab.app.app_context():
        yield Archive(lab)


@pytest.fixture
def trail(archive: Archive) -> Trail:
    def make(entries: int) -> House:
        house = archive.lab.new_house("acme")
        for _ in range(entries):
            archive.draw(house)
        assert archive.seal(house) == entries
        return house

    return make
