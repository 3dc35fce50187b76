"""The store against the rows: what only one of them has."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from app.domains.documents.service import reconciliation
from app.domains.documents.service.reconciliation import Fault, Finding
from app.domains.tenants.service.directory import TenantRegistry
from app.settings import Settings
from app.tenancy.locations import TenantLocation
from app.tenancy.manager import current_manager
from tests.cast import House, Person, new_house, new_person
from tests.core.live import environment_of
from tests.domains.documents.files import stored, upload
from tests.domains.documents.test_uploads import HEAD, send_stream
from tests.paths import PROJECT


@pytest.fixture
def owner(context: Flask) -> Person:
    return new_person(context, "Alice")


@pytest.fixture
def house(context: Flask, owner: Person) -> House:
    return new_house("reconciled", owner)


@pytest.fixture
def location(house: House) -> TenantLocation:
    return TenantRegistry().locate_tenant(house.id)


def find(context: Flask, location: TenantLocation, *, apply: bool = False) -> list[Finding]:
    storage = context.extensions["storage"]
    return list(reconciliation.find_faults(current_manager(), storage, location, apply=apply))


def test_a_house_in_order(context: Flask, owner: Person, house: House, location: Any) -> None:
    for number in range(5):
        upload(owner, house, str(number).encode())
    send_stream(owner, house, [HEAD, b"x" * 1000], None)
    assert find(context, location, apply=True) == []


@pytest.mark.parametrize("page", [1, 2, 1000])
def test_both_kinds_of_orphan(
    *,
    context: Flask,
    settings: Settings,
    owner: Person,
    house: House,
    location: Any,
    page: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reconciliation, "_PAGE", page)
    for number in range(6):
        upload(owner, house, str(number).encode())
    paths = sorted(stored(settings, house))
    for path in (paths[0], paths[3], paths[5]):
        path.unlink()
    prefix = settings.storage_path / "tenants" / house.database / "files"
    strays = [prefix / "00/00/0", prefix / "77/aa/1", prefix / "ff/ff/f", prefix / "zz/2.part"]
    for path in strays:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"whose?")
    keys = {
        Fault.MISSING: {key_of(settings, path) for path in (paths[0], paths[3], paths[5])},
        Fault.STRAY: {key_of(settings, path).removesuffix(".part") for path in strays},
    }
    for apply in (False, True):
        found = find(context, location, apply=apply)
        for fault, expected in keys.items():
            assert {each.key for each in found if each.fault == fault} == expected
        assert len(found) == 7
    assert not any(path.exists() for path in strays)
    assert {each.fault for each in find(context, location)} == {Fault.MISSING}


def key_of(settings: Settings, path: Path) -> str:
    return path.relative_to(settings.storage_path).as_posix()


def test_another_tenants_files_are_no_strays(
    context: Flask, owner: Person, house: House, location: Any
) -> None:
    other = new_house("reconciled", owner)
    upload(owner, other)
    upload(owner, house)
    assert find(context, location, apply=True) == []
    assert owner.get(other.documents).get_json()["items"]


def run(settings: Settings, *arguments: str) -> "subprocess.CompletedProcess[str]":
    script = PROJECT / "scripts" / "reconcile_files.py"
    return subprocess.run(
        [sys.executable, str(script), *arguments],
        env=environment_of(settings),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_script(settings: Settings, owner: Person, house: House) -> None:
    upload(owner, house)
    (file,) = stored(settings, house)
    stray = file.with_name("stray")
    stray.write_bytes(b"whose?")
    mine = ("--tenant-id", str(house.id))
    assert run(settings, "--help").returncode == 0
    dry = run(settings, *mine, "--json")
    assert dry.returncode == 1
    (finding,) = map(json.loads, dry.stdout.splitlines())
    assert finding == {
        "fault": "stray",
        "tenant_id": str(house.id),
        "key": key_of(settings, stray),
        "outcome": None,
    }
    assert stray.exists()
    applied = run(settings, *mine, "--apply")
    assert applied.returncode == 0, applied.stderr
    assert "deleted" in applied.stdout
    assert not stray.exists()
    assert file.exists()
    assert run(settings, "--tenant-id", str(owner.user_id)).returncode == 1
