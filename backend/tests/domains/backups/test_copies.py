"""A tenant made of another's data: a sandbox of one that is in use, and an import of an archive."""

import hashlib
import json
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from uuid import UUID
from zipfile import ZipFile

import pytest
from sqlalchemy import select, update

from app.core import clock
from app.core.db import main_session, platform_session
from app.domains.backups.errors import ArchiveDamaged
from app.domains.backups.service import exporting, importing
from app.domains.jobs.models import Job, JobState
from app.domains.tenants.models import Sandbox, Tenant
from app.domains.tenants.service import deletion, sandboxes
from app.domains.tenants.service.directory import TenantRegistry
from tests.cast import House, Person, new_house, new_person
from tests.core.answers import refusal
from tests.domains.backups.conftest import Safe
from tests.paths import PROJECT


def run_jobs(safe: Safe, name: str) -> None:
    """As a worker does."""
    with platform_session() as session:
        waiting = select(Job.id).where(Job.name == name, Job.state == JobState.WAITING)
        jobs = session.scalars(waiting).all()
    for job_id in jobs:
        safe.lab.app.extensions["celery"].tasks["jobs.run"].apply(kwargs={"job_id": str(job_id)})


def house_of(tenant_id: str) -> House:
    with platform_session() as session:
        slug = session.get_one(Tenant, UUID(tenant_id)).slug
    location = TenantRegistry().locate_tenant(UUID(tenant_id))
    return House(UUID(tenant_id), slug, location.database)


def order(safe: Safe, house: House) -> str:
    answer = safe.alice.post(
        f"/api/tenants/{house.id}/sandboxes", json={"name": "Try", "slug": f"try-{house.slug}"}
    )
    assert (answer.status_code, answer.get_json()["state"]) == (202, "pending"), answer.text
    location: str = answer.headers["Location"]
    return location


def test_a_sandbox_is_a_copy_and_nothing_of_the_original_is_touched(
    safe: Safe, acme: House
) -> None:
    content = b"plans" * 300_000
    original = safe.upload(acme, "plans.txt", content)
    address = order(safe, acme)
    run_jobs(safe, "backups.fill_sandbox")
    made = safe.alice.get(address).get_json()
    assert (made["state"], made["source_id"]) == ("ready", str(acme.id))
    copy = house_of(made["tenant_id"])
    assert safe.read(copy, original) == content
    # They are two: what happens in one does not in the other.
    safe.upload(copy, "new.txt", b"new")
    assert safe.alice.delete(f"{copy.documents}/{original}").status_code == 204
    assert safe.alice.delete(f"{copy.documents}/trash").status_code == 200
    assert (safe.names(copy), safe.names(acme)) == ({"new.txt"}, {"plans.txt"})
    assert safe.read(acme, original) == content
    trail = safe.alice.get(f"/api/tenants/{copy.id}/audit").get_json()["items"]
    uploaded = [each["target"] for each in trail if each["type"] == "document.uploaded"]
    assert original not in uploaded  # the trail of the original is not the copy's
    assert len(uploaded) == 1
    # Nothing goes out in its name, and it cannot be copied again.
    invited = safe.alice.post(
        f"/api/tenants/{copy.id}/invitations", json={"email": "bob@example.com", "role": "viewer"}
    )
    assert invited.status_code == 201
    run_jobs(safe, "tenants.send_invitation")
    assert (
        safe.alice.get(f"/api/tenants/{copy.id}/invitations").get_json()["items"][0]["sent_at"]
        is None
    )
    again = safe.alice.post(
        f"/api/tenants/{copy.id}/sandboxes", json={"name": "Try", "slug": f"again-{acme.slug}"}
    )
    refusal(again, 409, "sandbox_of_sandbox")
    # Its time ends.
    with platform_session() as session:
        past = clock.now() - timedelta(seconds=1)
        session.execute(update(Sandbox).where(Sandbox.tenant_id == copy.id).values(expires_at=past))
    assert sandboxes.purge_overdue(safe.lab.manager, safe.storage) == 1
    refusal(safe.alice.get(address), 404, "sandbox_not_found")
    assert list(safe.storage.keys(f"tenants/{copy.database}")) == []
    assert safe.read(acme, original) == content


def test_a_sandbox_is_the_owners_to_order(safe: Safe, acme: House) -> None:
    ada, mallory = new_person(safe.lab.app, "Ada"), new_person(safe.lab.app, "Mallory")
    globex = new_house("globex", mallory, admin=ada)
    body = {"name": "Try", "slug": f"try-{globex.slug}"}
    refusal(ada.post(f"/api/tenants/{globex.id}/sandboxes", json=body), 403)
    refusal(mallory.post(f"/api/tenants/{acme.id}/sandboxes", json=body), 404)
    address = order(safe, acme)
    refusal(mallory.get(address.replace(str(acme.id), str(globex.id))), 404, "sandbox_not_found")
    with main_session(tenant_id=globex.id) as session:
        assert session.scalars(select(Sandbox)).all() == []
    run_jobs(safe, "backups.fill_sandbox")
    deletion.purge(safe.lab.manager, safe.storage, tenant_id=UUID(address.rpartition("/")[2]))


def test_one_that_cannot_be_a_copy_says_so(safe: Safe, acme: House) -> None:
    safe.upload(acme, "plans.txt", b"plans")
    [key] = list(safe.storage.keys(f"tenants/{acme.database}/files"))
    safe.storage.put(key, [b"other"])
    address = order(safe, acme)
    run_jobs(safe, "backups.fill_sandbox")
    made = safe.alice.get(address).get_json()
    assert (made["state"], made["failure"]) == ("failed", "BackupDamaged")
    assert safe.names(house_of(made["tenant_id"])) == set()
    deletion.purge(safe.lab.manager, safe.storage, tenant_id=UUID(made["tenant_id"]))


@pytest.fixture
def archive(safe: Safe, acme: House, tmp_path: Path) -> Path:
    for name in ("plans.txt", 'a "name"\nof two lines'):
        safe.upload(acme, name, name.encode() * 1000)
    path = tmp_path / "acme.zip"
    exporting.export(safe.lab.manager, safe.storage, tenant_id=acme.id, path=path)
    return path


def load(
    safe: Safe, path: Path, slug: str, owner: Person, *, invite: bool = False
) -> importing.Imported:
    return importing.import_archive(
        safe.lab.manager,
        safe.storage,
        safe.lab.settings,
        path=path,
        slug=slug,
        name="Acme",
        owner_id=owner.user_id,
        invite=invite,
    )


def test_what_was_taken_away_comes_back(safe: Safe, acme: House, archive: Path) -> None:
    items = safe.alice.get(acme.documents).get_json()["items"]
    [document_id] = [each["id"] for each in items if "plans" in each["name"]]
    original = safe.alice.get(f"{acme.documents}/{document_id}").get_json()
    imported = load(safe, archive, f"new-{acme.slug}", safe.alice)
    house = house_of(str(imported.tenant_id))
    assert (imported.files, imported.missing) == (2, 0)
    assert safe.names(house) == safe.names(acme)
    assert safe.alice.get(f"{house.documents}/{document_id}").get_json() == original
    assert safe.read(house, document_id) == b"plans.txt" * 1000
    deletion.purge(safe.lab.manager, safe.storage, tenant_id=house.id)
    assert safe.read(acme, document_id) == b"plans.txt" * 1000


def test_people_are_known_by_their_address(safe: Safe, acme: House, archive: Path) -> None:
    """As where the archive comes from another installation: there, Alice has another id."""
    there = "00000000-0000-7000-8000-000000000001"
    foreign = rewritten(archive, str(safe.alice.user_id), there)
    mallory = new_person(safe.lab.app, "Mallory")
    imported = load(safe, foreign, f"new-{acme.slug}", mallory, invite=True)
    house = house_of(str(imported.tenant_id))
    items = mallory.get(house.documents).get_json()["items"]
    assert {each["owner_id"] for each in items} == {str(safe.alice.user_id)}
    invited = mallory.get(f"/api/tenants/{house.id}/invitations").get_json()["items"]
    assert [(each["email"], each["role"]) for each in invited] == [(safe.alice.email, "owner")]
    refusal(safe.alice.get(house.documents), 404)
    deletion.purge(safe.lab.manager, safe.storage, tenant_id=house.id)


def rewritten(archive: Path, old: str, new: str, *, honest: bool = True) -> Path:
    """The archive with other text in its tables; an honest one says so in its manifest."""
    path = archive.with_name("rewritten.zip")
    with ZipFile(archive) as source, ZipFile(path, "w") as target:
        manifest = json.loads(source.read("manifest.json"))
        for name in manifest["entries"]:
            content = source.read(name).replace(old.encode(), new.encode())
            if honest:
                manifest["entries"][name]["sha256"] = hashlib.sha256(content).hexdigest()
            target.writestr(name, content)
        target.writestr("manifest.json", json.dumps(manifest))
    return path


def test_what_is_no_archive_makes_no_tenant(
    safe: Safe, acme: House, archive: Path, tmp_path: Path
) -> None:
    text = tmp_path / "text.zip"
    text.write_text("no archive")
    cut = tmp_path / "cut.zip"
    shutil.copy(archive, cut)
    with cut.open("r+b") as file:
        file.truncate(1000)
    changed = rewritten(archive, "plans.txt", "other.txt", honest=False)
    for path in (text, cut, changed):
        with pytest.raises(ArchiveDamaged):
            load(safe, path, f"bad-{acme.slug}", safe.alice)
    # Files of another tenant's cannot be named.
    globex = new_house("globex", safe.alice)
    [key, *_] = safe.storage.keys(f"tenants/{acme.database}/files")
    thief = rewritten(archive, key, key.replace(acme.database, globex.database))
    with pytest.raises(ArchiveDamaged):
        load(safe, thief, f"bad-{acme.slug}", safe.alice)
    slugs = {each["slug"] for each in safe.alice.get("/api/tenants").get_json()["items"]}
    assert f"bad-{acme.slug}" not in slugs


def test_the_script(safe: Safe, acme: House, archive: Path) -> None:
    command = [sys.executable, str(PROJECT / "scripts/import_tenant.py"), "--archive", str(archive)]
    command += ["--owner", safe.alice.email, "--slug", f"new-{acme.slug}", "--json"]
    environment = safe.lab.environment()
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["files"] == 2
    again = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert (again.returncode, "slug" in again.stderr) == (1, True)
    deletion.purge(safe.lab.manager, safe.storage, tenant_id=UUID(told["tenant_id"]))
