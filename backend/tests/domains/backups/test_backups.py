"""Backups: what comes back is what was there, and what is wrong changes nothing."""

import io
from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

import psycopg
import pytest

from app.core import ids
from app.core.db import main_session, platform_session
from app.core.sealed_streams import KeyMissing, StreamUnreadable
from app.core.tasks import TenantGone
from app.domains.audit.service import sealing, verification
from app.domains.audit.service.checkpoints import Verifier
from app.domains.backups.errors import (
    BackupDamaged,
    BackupForeign,
    BackupInProgress,
    BackupKeysMissing,
    BackupNotFound,
    BackupTooNew,
)
from app.domains.backups.models import Backup
from app.domains.backups.service import archive, restoring, taking, upkeep
from app.domains.documents.errors import ErasureHeld
from app.domains.documents.service import files, stored_files
from app.domains.jobs.models import Job
from app.domains.tenants.errors import AlreadyHeld, KeptDatabaseNotFound
from app.domains.tenants.service import kept, read_only, reconciliation
from app.domains.tenants.service.directory import TenantRegistry
from app.tenancy.dumping import ToolsMissing
from app.tenancy.locations import TenantLocation
from app.tenancy.server import comment_of
from tests.cast import House, new_house
from tests.domains.backups.conftest import Safe, new_key

WEEK = timedelta(days=7)


def location(house: House) -> TenantLocation:
    return TenantRegistry().locate_tenant(house.id)


def swap(safe: Safe, house: House, kept_id: UUID) -> TenantLocation:
    return kept.swap(safe.lab.manager, tenant_id=house.id, kept_id=kept_id, grace=WEEK)


def objects(safe: Safe, house: House) -> list[str]:
    return list(safe.storage.keys(f"backups/{house.id.hex}"))


def beside(house: House) -> list[str]:
    with main_session(tenant_id=house.id) as session:
        return [row.database for row in kept.rows_of(session, house.id)]


def databases(safe: Safe, house: House) -> set[str]:
    with safe.lab.as_superuser() as superuser:
        rows = superuser.execute("SELECT datname FROM pg_database").fetchall()
    return {name for (name,) in rows if house.id.hex in name}


def test_a_wrong_deletion_is_undone_and_the_restoration_too(safe: Safe, acme: House) -> None:
    plans = safe.upload(acme, "plans.txt", b"the plans" * 200_000)
    empty = safe.upload(acme, "empty.txt", b"")
    safe.alice.patch(f"{acme.documents}/{plans}", json={"tags": ["x"]}, headers={"If-Match": "*"})
    used = safe.alice.get(f"/api/tenants/{acme.id}/usage").get_json()
    assert vouched_for(safe, acme) > 0
    safe.alice.patch(f"{acme.documents}/{plans}", json={"tags": ["y"]}, headers={"If-Match": "*"})
    safe.alice.patch(f"{acme.documents}/{plans}", json={"tags": ["x"]}, headers={"If-Match": "*"})
    backup_id = safe.take(acme)
    former = location(acme)
    for each in (plans, empty):
        safe.alice.delete(f"{acme.documents}/{each}")
    safe.alice.delete(f"{acme.documents}/trash")
    safe.upload(acme, "later.txt", b"later")
    before = vouched_for(safe, acme)

    restored = safe.restore(acme, backup_id)
    assert restored.tables["documents"] == 2
    assert safe.names(acme) == {"later.txt"}  # beside: nothing has changed
    assert not [each for each in faults(safe) if each.tenant_id == acme.id]
    with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
        safe.lab.as_tenant(named(acme, restored.database))

    hold = read_only.held(safe.lab.manager, tenant_id=acme.id, longest=WEEK)
    with hold, pytest.raises(AlreadyHeld):
        swap(safe, acme, restored.kept_id)
    with pytest.raises(KeptDatabaseNotFound):
        swap(safe, new_house("globex", safe.alice), restored.kept_id)
    present = swap(safe, acme, restored.kept_id)
    assert present.database == restored.database != former.database
    assert safe.names(acme) == {"plans.txt", "empty.txt"}
    assert safe.read(acme, plans) == b"the plans" * 200_000
    assert safe.read(acme, empty) == b""
    assert safe.alice.get(f"/api/tenants/{acme.id}/usage").get_json() == used
    with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
        safe.lab.as_tenant(former)
    assert vouched_for(safe, acme, superseded=1) < before
    safe.upload(acme, "after.txt", b"after")
    assert not [each for each in faults(safe) if each.tenant_id == acme.id]
    vouched_for(safe, acme, superseded=1)

    assert swap(safe, acme, restored.kept_id).database == former.database
    assert safe.names(acme) == {"later.txt"}
    assert vouched_for(safe, acme, superseded=2) == before
    safe.upload(acme, "last.txt", b"last")
    assert vouched_for(safe, acme, superseded=2) > before
    kept.drop(safe.lab.manager, safe.storage, tenant_id=acme.id, kept_id=restored.kept_id)
    assert databases(safe, acme) == {former.database}
    assert not list(safe.storage.keys(f"tenants/{restored.database}"))


def vouched_for(safe: Safe, house: House, *, superseded: int = 0) -> int:
    """Seals the audit trail, and verifies it by all its checkpoints: where it ends.

    Some are of databases that another has taken the place of.
    """
    sealing.seal_tenant(safe.lab.manager, safe.lab.settings, tenant_id=house.id)
    verifier = Verifier.of(safe.lab.settings)
    verdict = verification.verify_tenant(safe.lab.manager, verifier, tenant_id=house.id)
    assert (verdict.findings, len(verdict.notes)) == ([], superseded)
    assert verdict.vouched == verdict.entries
    return verdict.vouched


def faults(safe: Safe) -> list[reconciliation.Finding]:
    return reconciliation.find_faults(safe.lab.manager)


def named(house: House, database: str) -> TenantLocation:
    with main_session(tenant_id=house.id) as session:
        [row] = [row for row in kept.rows_of(session, house.id) if row.database == database]
        return kept.location_of(row)


def test_a_restored_database_is_as_any_tenants(safe: Safe, acme: House) -> None:
    restored = safe.restore(acme, safe.take(acme))
    swap(safe, acme, restored.kept_id)
    here = location(acme)
    with safe.lab.manager.server.connect_as_provisioner() as connection:
        comment = comment_of(connection, here.database)
    assert safe.lab.installation.owns(comment, "tenant")
    stranger = new_house("globex", safe.alice)
    breaches = safe.lab.manager.attack_as(
        here, doors=(stranger.database, "postgres"), stranger=stranger.database, shut_out=False
    )
    assert breaches == []
    with safe.lab.as_tenant(here) as role, pytest.raises(psycopg.errors.InsufficientPrivilege):
        role.execute("CREATE TABLE intruder ()")


@pytest.fixture
def backup(safe: Safe, acme: House) -> Iterator[UUID]:
    safe.upload(acme, "plans.txt", b"plans")
    yield safe.take(acme)
    assert beside(acme) == []  # whatever was refused has left nothing
    assert len(databases(safe, acme)) == 1
    assert safe.names(acme) == {"plans.txt"}


# What somebody may do to it who may write to the store.
DAMAGES = (
    *(("/manifest", how) for how in ("flip", "cut", "swap", "gone")),
    *(("/dump", how) for how in ("flip", "cut", "swap")),
    ("/index", "cut"),
    ("/files/", "swap"),
    ("/files/", "gone"),
)


def test_a_damaged_backup_is_refused(safe: Safe, acme: House, backup: UUID) -> None:
    contents = {name: read(safe, name) for name in objects(safe, acme)}
    for part, how in DAMAGES:
        key = next(name for name in contents if part in name)
        content, middle = contents[key], len(contents[key]) // 2
        changed = {
            "flip": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
            "cut": content[:-1],
            "swap": next(contents[name] for name in contents if part not in name),
        }
        safe.storage.put(key, [changed.get(how, b"")])
        if how == "gone":
            safe.storage.delete(key)
        with pytest.raises((BackupDamaged, StreamUnreadable, BackupNotFound)):
            safe.restore(acme, backup)
        safe.storage.put(key, [content])
    restored = safe.restore(acme, backup)  # it was the damage
    kept.drop(safe.lab.manager, safe.storage, tenant_id=acme.id, kept_id=restored.kept_id)


def read(safe: Safe, key: str) -> bytes:
    with safe.storage.open(key) as file:
        return file.read()


def test_a_backup_of_somebody_else_or_under_another_key_is_refused(
    safe: Safe, acme: House, backup: UUID
) -> None:
    globex = new_house("globex", safe.alice)
    with pytest.raises(BackupNotFound):
        safe.restore(globex, backup)
    for key in objects(safe, acme):  # carried over by somebody who may write to the store
        with safe.storage.open(key) as file:
            safe.storage.put(key.replace(acme.id.hex, globex.id.hex), [file.read()])
    with pytest.raises((StreamUnreadable, BackupForeign)):
        safe.restore(globex, backup)
    assert databases(safe, globex) == {globex.database}
    for keys, error in ((new_key(), KeyMissing), ("", BackupKeysMissing)):
        settings = type(safe.lab.settings)(
            **(safe.lab.settings.model_dump() | {"backup_keys": keys})
        )
        with pytest.raises(error):
            restoring.restore(
                safe.lab.manager, safe.storage, settings, tenant_id=acme.id, backup_id=backup
            )
    with pytest.raises(BackupNotFound):
        safe.restore(acme, ids.new_id())
    nobody = House(ids.new_id(), "nobody", "nobody")
    with pytest.raises(TenantGone):
        safe.take(nobody)


def test_what_newer_code_or_a_newer_server_took_is_refused(
    safe: Safe, acme: House, backup: UUID
) -> None:
    own = archive.archive_of(safe.lab.settings, safe.storage, tenant_id=acme.id, backup_id=backup)
    manifest = own.read_manifest()
    for change in ({"revision": "9999"}, {"server_major": 99}):
        fields = {name: getattr(manifest, name) for name in manifest.__dataclass_fields__}
        own.write_manifest(archive.Manifest(**(fields | change)))
        with pytest.raises(BackupTooNew):
            safe.restore(acme, backup)
    nowhere = safe.lab.settings.model_copy(update={"postgres_tools": "/nowhere"})
    with pytest.raises((ToolsMissing, TypeError)):
        taking.take(safe.lab.manager, safe.storage, nowhere, tenant_id=acme.id)


def test_no_file_is_lost_that_goes_while_the_backup_is_taken(safe: Safe, acme: House) -> None:
    """The snapshot knows it, so its bytes stay until the backup has them."""
    document = safe.upload(acme, "plans.txt", b"plans")
    manager = safe.lab.manager
    file_id = None

    def purge_meanwhile(_done: int, _of: int, what: str) -> None:
        nonlocal file_id
        if what != "rows":
            return
        safe.alice.delete(f"{acme.documents}/{document}")
        safe.alice.delete(f"{acme.documents}/trash")
        with manager.server.connect_as_owner(acme.database) as owner:
            row = owner.execute("SELECT id FROM files WHERE state = 'deleting'").fetchone()
            assert row is not None
            file_id = row[0]
        with pytest.raises(ErasureHeld), manager.tenant_db_session(acme.database) as session:
            files.erase_file(session, safe.storage, file_id=file_id)

    backup_id = safe.take(acme, tell=purge_meanwhile)
    assert file_id is not None
    with manager.tenant_db_session(acme.database) as session:
        assert files.erase_file(session, safe.storage, file_id=file_id)
    swap(safe, acme, safe.restore(acme, backup_id).kept_id)
    assert safe.read(acme, document) == b"plans"


def test_one_at_a_time_and_one_that_fails_leaves_nothing(safe: Safe, acme: House) -> None:
    safe.upload(acme, "plans.txt", b"plans")

    def fail(_done: int, _of: int, what: str) -> None:
        if what == "rows":
            with pytest.raises(BackupInProgress):
                safe.take(acme)
            return
        raise RuntimeError("the machine stops")

    with pytest.raises(RuntimeError):
        safe.take(acme, tell=fail)
    assert objects(safe, acme) == []
    with platform_session() as session:
        [backup] = upkeep.list_backups(session, tenant_id=acme.id)
    assert (backup.state, backup.failure) == ("failed", "RuntimeError: the machine stops")


def test_a_file_whose_bytes_were_missing_before_is_told_of(safe: Safe, acme: House) -> None:
    lost, there = (safe.upload(acme, name, name.encode()) for name in ("lost", "there"))
    with safe.lab.manager.server.connect_as_owner(acme.database) as owner, owner.transaction():
        keys = {file.key for file in stored_files.stored(owner) if file.size == len(b"lost")}
    for key in keys:
        safe.storage.delete(key)
    restored = safe.restore(acme, safe.take(acme))
    assert (restored.files, restored.missing) == (1, 1)
    swap(safe, acme, restored.kept_id)
    assert safe.read(acme, there) == b"there"
    assert safe.read(acme, lost) != b"lost"


def test_a_backup_is_proven_or_told_to_be_useless(safe: Safe, acme: House) -> None:
    safe.upload(acme, "plans.txt", b"plans")
    backup_id = safe.take(acme)
    with platform_session() as session:
        assert session.get_one(Backup, backup_id).proven_at is None
    lab = safe.lab
    assert restoring.prove(lab.manager, safe.storage, lab.settings, tenant_id=acme.id) == backup_id
    told = safe.alice.get(f"/api/tenants/{acme.id}").get_json()
    assert told["last_backup_at"] is not None
    assert told["last_proven_at"] is not None
    assert len(databases(safe, acme)) == 1
    [key] = [name for name in objects(safe, acme) if "/files/" in name]
    safe.storage.delete(key)
    with pytest.raises(BackupDamaged):
        restoring.prove(lab.manager, safe.storage, lab.settings, tenant_id=acme.id)
    with platform_session() as session:
        assert "BackupDamaged" in (session.get_one(Backup, backup_id).proof_failure or "")


def test_backups_are_scheduled_when_due_and_deleted_when_old(safe: Safe, acme: House) -> None:
    lab = safe.lab
    off, daily = lab.settings, lab.settings.model_copy(update={"backup_every_hours": 24})
    with platform_session() as session:
        assert upkeep.schedule(session, off) == 0
        assert upkeep.schedule(session, daily) >= 1
        assert upkeep.schedule(session, daily) == 0  # asked for already
    with platform_session() as session:
        jobs = session.query(Job).where(Job.tenant_id == acme.id, Job.name == "backups.take")
        assert jobs.count() == 1
    older, newest = safe.take(acme, scheduled=True), safe.take(acme, scheduled=True)
    with platform_session() as session:
        for backup_id in (older, newest):
            backup = session.get_one(Backup, backup_id)
            backup.created_at -= timedelta(days=off.backup_keep_days + 1)
    upkeep.delete_expired(safe.storage, off)
    with platform_session() as session:
        left = [each.id for each in upkeep.list_backups(session, tenant_id=acme.id)]
    assert left == [newest]
    assert {name.split("/")[2] for name in objects(safe, acme)} == {newest.hex}


def test_a_read_only_tenant_is_backed_up_and_stays_so(safe: Safe, acme: House) -> None:
    read_only.make_read_only(safe.lab.manager, tenant_id=acme.id)
    swap(safe, acme, safe.restore(acme, safe.take(acme)).kept_id)
    answer = safe.alice.post(acme.documents, data={"file": (io.BytesIO(b"x"), "x.txt")})
    assert answer.get_json()["code"] == "tenant_read_only"
    assert safe.names(acme) == set()
