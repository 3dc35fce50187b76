"""An installation that takes backups, on each store that there is."""

import base64
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from app.domains.backups.service import restoring, taking
from app.domains.backups.service.restoring import Restored
from app.domains.tenants.service import deletion
from app.integrations import storage
from app.integrations.storage import Storage, current_storage
from embedded.cluster import wheel_bin_dir
from tests.cast import House, Person, new_house, new_person
from tests.integrations.stores import KINDS, s3_settings
from tests.tenancy.laboratory import Laboratory, laboratory


@dataclass(frozen=True)
class Safe:
    """A laboratory with keys and tools for backups, and a store."""

    lab: Laboratory
    alice: Person

    @property
    def storage(self) -> Storage:
        return current_storage()

    def take(self, house: House, **options: Any) -> UUID:
        lab = self.lab
        return taking.take(lab.manager, self.storage, lab.settings, tenant_id=house.id, **options)

    def restore(self, house: House, backup_id: UUID) -> Restored:
        lab = self.lab
        return restoring.restore(
            lab.manager, self.storage, lab.settings, tenant_id=house.id, backup_id=backup_id
        )

    def upload(self, house: House, name: str, content: bytes) -> str:
        answer = self.alice.post(house.documents, data={"file": (io.BytesIO(content), name)})
        assert answer.status_code == 201, answer.text
        return str(answer.get_json()["id"])

    def read(self, house: House, document_id: str) -> bytes | int:
        """The document's bytes, or the status of the refusal."""
        answer = self.alice.get(f"{house.documents}/{document_id}/download")
        return answer.data if answer.status_code == 200 else answer.status_code

    def names(self, house: House) -> set[str]:
        items = self.alice.get(house.documents).get_json()["items"]
        return {item["name"] for item in items}


def tools_of(admin_url: str) -> Path | None:
    """None where Debian's folder has those of the server's version; else the wheel's."""
    with psycopg.connect(admin_url) as connection:
        major = connection.info.server_version // 10_000
    debian = Path(f"/usr/lib/postgresql/{major}/bin/pg_dump")
    return None if debian.exists() else wheel_bin_dir()


def new_key() -> str:
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


@pytest.fixture(scope="module", params=KINDS)
def safe(
    request: pytest.FixtureRequest,
    server_urls: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Safe]:
    store = s3_settings(server_urls.get("s3", "")) if request.param == "s3" else {}
    with (
        laboratory(
            server_urls,
            tmp_path_factory.mktemp("safe"),
            backup_keys=new_key(),
            postgres_tools=tools_of(server_urls["postgres"]),
            **store,
        ) as lab,
        lab.app.app_context(),
    ):
        storage.prepare(lab.settings)
        yield Safe(lab, new_person(lab.app, "Alice"))


@pytest.fixture
def acme(safe: Safe) -> Iterator[House]:
    made = new_house("acme", safe.alice)
    yield made
    deletion.purge(safe.lab.manager, current_storage(), tenant_id=made.id)
