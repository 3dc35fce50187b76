"""Exports over HTTP: an owner orders one, a job makes it, a link hands it out until it expires."""

import io
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4
from zipfile import ZipFile

import httpx
import pytest
from sqlalchemy import select, update

from app.core import clock
from app.core.db import main_session, platform_session
from app.domains.audit.models import PlatformEntry
from app.domains.backups.models import Export
from app.domains.backups.service import exports
from app.domains.jobs.models import Job, JobState
from app.domains.tenants.service import read_only
from app.integrations.storage import DiskStorage
from tests.cast import House, Person, new_house, new_person
from tests.core.answers import refusal
from tests.domains.backups.conftest import Safe


@pytest.fixture(scope="module")
def ada(safe: Safe) -> Person:
    return new_person(safe.lab.app, "Ada")


@pytest.fixture
def address(acme: House) -> str:
    return f"/api/tenants/{acme.id}/exports"


def order(safe: Safe, address: str) -> str:
    """Where the export is."""
    answer = safe.alice.post(address)
    assert (answer.status_code, answer.get_json()["state"]) == (202, "pending"), answer.text
    location: str = answer.headers["Location"]
    assert location == f"{address}/{answer.get_json()['id']}"
    return location


def run_job(safe: Safe, house: House) -> None:
    """As a worker does."""
    waiting = select(Job.id).where(Job.name == "backups.export", Job.tenant_id == house.id)
    with platform_session() as session:
        jobs = session.scalars(waiting.where(Job.state == JobState.WAITING)).all()
    for job_id in jobs:
        safe.lab.app.extensions["celery"].tasks["jobs.run"].apply(kwargs={"job_id": str(job_id)})


def fetch(safe: Safe, url: str) -> tuple[int, bytes]:
    """What somebody without a token gets from a link."""
    if isinstance(safe.storage, DiskStorage):
        path = urlsplit(url).path
        client = safe.lab.app.test_client()
        answer = client.get(path, base_url=safe.lab.settings.public_url, buffered=True)
        return answer.status_code, answer.data
    response = httpx.get(url)
    return response.status_code, response.content


def told(house: House) -> list[str]:
    of_house = select(PlatformEntry.type).where(PlatformEntry.tenant_id == house.id)
    with platform_session() as session:
        types = session.scalars(of_house.order_by(PlatformEntry.id)).all()
    return [each for each in types if each.startswith("export.")]


def end_time(export_id: str) -> None:
    with platform_session() as session:
        past = clock.now() - timedelta(seconds=1)
        session.execute(update(Export).where(Export.id == UUID(export_id)).values(expires_at=past))


def test_ordered_made_fetched_and_over(safe: Safe, acme: House, address: str) -> None:
    safe.upload(acme, "plans.txt", b"plans")
    one = order(safe, address)
    refusal(safe.alice.post(address), 409, "export_in_progress")
    refusal(safe.alice.get(f"{one}/download-url"), 409, "export_not_ready")
    refusal(safe.alice.delete(one), 409, "export_in_progress")
    run_job(safe, acme)
    made = safe.alice.get(one).get_json()
    assert made["state"] == "ready"
    [listed] = safe.alice.get(address).get_json()["items"]
    assert listed == made
    link = safe.alice.get(f"{one}/download-url?expires_in=60").get_json()
    status, archive = fetch(safe, link["url"])
    assert (status, len(archive)) == (200, made["bytes"])
    with ZipFile(io.BytesIO(archive)) as entries:
        assert entries.testzip() is None
        assert [entries.read(n) for n in entries.namelist() if n.startswith("files/")] == [b"plans"]
    assert told(acme) == ["export.requested", "export.link_created"]
    end_time(made["id"])
    refusal(safe.alice.get(one), 404, "export_not_found")
    refusal(safe.alice.get(f"{one}/download-url"), 404, "export_not_found")
    exports.delete_overdue(safe.storage)
    assert fetch(safe, link["url"])[0] == 404
    assert list(safe.storage.keys(f"exports/{acme.id.hex}")) == []
    order(safe, address)  # the next is not held up by the last


def test_a_deleted_one_is_gone_at_once(safe: Safe, acme: House, address: str) -> None:
    one = order(safe, address)
    run_job(safe, acme)
    link = safe.alice.get(f"{one}/download-url").get_json()
    assert safe.alice.delete(one).status_code == 204
    assert fetch(safe, link["url"])[0] == 404
    refusal(safe.alice.delete(one), 404, "export_not_found")
    assert told(acme)[-1] == "export.deleted"


def test_the_data_are_the_owners_to_take(safe: Safe, acme: House, ada: Person) -> None:
    globex = new_house("globex", new_person(safe.lab.app, "Mallory"), admin=ada)
    refusal(ada.post(f"/api/tenants/{globex.id}/exports"), 403)
    refusal(safe.alice.post(f"/api/tenants/{globex.id}/exports"), 404)
    petra = new_person(safe.lab.app, "Petra", platform_role="platform_admin")
    refusal(petra.post(f"/api/tenants/{globex.id}/exports"), 404)
    one = order(safe, f"/api/tenants/{acme.id}/exports")
    foreign = one.replace(str(acme.id), str(globex.id))
    refusal(ada.get(foreign), 403)
    with main_session(tenant_id=globex.id) as session:  # nor does the database show it
        assert session.scalars(select(Export)).all() == []
    refusal(safe.alice.get(f"/api/tenants/{acme.id}/exports/{uuid4()}"), 404, "export_not_found")


def test_a_tenant_that_is_read_only_may_leave(safe: Safe, acme: House, address: str) -> None:
    read_only.make_read_only(safe.lab.manager, tenant_id=acme.id, reason=None)
    one = order(safe, address)
    run_job(safe, acme)
    assert safe.alice.get(one).get_json()["state"] == "ready"
    read_only.make_writable(safe.lab.manager, tenant_id=acme.id)


def test_one_that_fails_says_so_and_holds_nothing_up(safe: Safe, acme: House, address: str) -> None:
    safe.upload(acme, "plans.txt", b"plans")
    [key] = list(safe.storage.keys(f"tenants/{acme.database}/files"))
    safe.storage.put(key, [b"other"])
    one = order(safe, address)
    run_job(safe, acme)
    failed: dict[str, Any] = safe.alice.get(one).get_json()
    assert (failed["state"], failed["failure"]) == ("failed", "BackupDamaged")
    safe.storage.put(key, [b"plans"])
    again = order(safe, address)
    run_job(safe, acme)
    assert safe.alice.get(again).get_json()["state"] == "ready"
