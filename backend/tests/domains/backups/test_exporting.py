"""The archive that a tenant takes away: whole, readable without us, and of nobody else."""

import hashlib
import json
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from app.core import ids
from app.core.tasks import TenantGone
from app.domains.backups.errors import BackupDamaged
from app.domains.backups.service import exporting
from tests.cast import House, new_house
from tests.domains.backups.conftest import Safe


def export(safe: Safe, house: House, path: Path) -> dict[str, Any]:
    return exporting.export(safe.lab.manager, safe.storage, tenant_id=house.id, path=path)


def lines(archive: ZipFile, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in archive.read(name).decode().splitlines()]


def test_everything_of_the_tenants_and_nothing_of_anothers(
    safe: Safe, acme: House, tmp_path: Path
) -> None:
    content = {"plans.txt": b"plans" * 300_000, 'a "name"\nof two lines': b"two"}
    for name, each in content.items():
        safe.upload(acme, name, each)
    globex = new_house("globex", safe.alice)
    safe.upload(globex, "hers.txt", b"hers alone")
    hook = {"url": "https://hooks.acme.example/", "event_types": ["document.uploaded.v1"]}
    answer = safe.alice.post(f"/api/tenants/{acme.id}/webhooks", json=hook)
    assert answer.status_code == 201, answer.text
    path = tmp_path / "acme.zip"
    manifest = export(safe, acme, path)
    with ZipFile(path) as archive:
        assert archive.testzip() is None
        assert json.loads(archive.read("manifest.json")) == manifest
        assert {*archive.namelist()} == {"manifest.json", *manifest["entries"]}
        for name, told in manifest["entries"].items():
            data = archive.read(name)
            assert (len(data), hashlib.sha256(data).hexdigest()) == (told["bytes"], told["sha256"])
        digests = {row["id"]: row["digest"][7:] for row in lines(archive, "tables/files.jsonl")}
        documents = lines(archive, "tables/documents.jsonl")
        found = {row["name"]: archive.read(f"files/{digests[row['file_id']]}") for row in documents}
        [endpoint] = lines(archive, "tables/webhook_endpoints.jsonl")
        [member] = lines(archive, "members.jsonl")
        everything = b"".join(archive.read(name) for name in archive.namelist())
    assert set(found.values()) == set(content.values())
    assert (member["email"], member["role"]) == (safe.alice.email, "owner")
    assert b"hers" not in everything
    assert endpoint["url"] == hook["url"]
    assert not [name for name in endpoint if name.startswith("sealed_")]


def test_what_cannot_be_read_leaves_no_archive(safe: Safe, acme: House, tmp_path: Path) -> None:
    safe.upload(acme, "plans.txt", b"plans")
    [key] = list(safe.storage.keys(f"tenants/{acme.database}/files"))
    safe.storage.put(key, [b"other"])
    with pytest.raises(BackupDamaged):
        export(safe, acme, tmp_path / "acme.zip")
    safe.storage.delete(key)
    assert len(export(safe, acme, tmp_path / "gap.zip")["missing_files"]) == 1
    with pytest.raises(TenantGone):
        export(safe, House(ids.new_id(), "nobody", "nobody"), tmp_path / "nobody.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["gap.zip"]
