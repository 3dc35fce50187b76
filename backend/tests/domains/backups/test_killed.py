"""Kill -9 in a backup and in a restoration: nothing of it is left, nothing is lost."""

import os
import signal
import subprocess
import sys
from uuid import UUID

import pytest

from app.core.db import platform_session
from app.domains.backups.service import upkeep
from app.domains.tenants.service import reconciliation
from tests.cast import House
from tests.domains.backups.conftest import Safe
from tests.domains.backups.test_backups import beside, databases, objects
from tests.paths import PROJECT
from tests.tenancy.laboratory import PATIENCE_SECONDS, until

# Another process, which ends itself where it comes to the function named.
_PROGRAM = """
import os, signal, sys
from importlib import import_module
from uuid import UUID
from app.factory import create_app
from app.integrations.storage import current_storage
from app.settings import load_settings
from app.tenancy.manager import current_manager

verb, module, owner, name, tenant, backup = sys.argv[1:]
target = import_module(module)
for part in owner.split(".") if owner else ():
    target = getattr(target, part)
setattr(target, name, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
settings = load_settings()
from app.domains.backups.service import restoring, taking
with create_app(settings).app_context():
    given = {"tenant_id": UUID(tenant)} | ({"backup_id": UUID(backup)} if backup else {})
    act = {"take": taking.take, "restore": restoring.restore}[verb]
    act(current_manager(), current_storage(), settings, **given)
"""
_SERVICE = "app.domains.backups.service"
_OF_A_BACKUP = [
    ("app.tenancy.dumping", "", "dump"),
    (f"{_SERVICE}.taking", "", "_complete"),
]
_OF_A_RESTORATION = [
    ("app.tenancy.dumping", "", "load"),
    ("app.domains.tenants.service.kept", "", "make_ready"),
]


def die(safe: Safe, verb: str, point: tuple[str, str, str], house: House, backup: str) -> None:
    environment = {**os.environ, **safe.lab.environment()}
    program = [sys.executable, "-c", _PROGRAM, verb, *point, str(house.id), backup]
    ended = subprocess.run(
        program,
        cwd=PROJECT / "backend",
        env=environment,
        capture_output=True,
        timeout=4 * PATIENCE_SECONDS,
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()[-2000:]


def clear_up(safe: Safe) -> None:
    """Its sessions on the server end a moment after it."""
    lab = safe.lab

    def nothing_is_left() -> bool:
        upkeep.clear_up(lab.manager, safe.storage, lab.settings)
        with platform_session() as session:
            backups = upkeep.list_backups(session, tenant_id=None)
        return all(backup.state != "running" for backup in backups)

    until(nothing_is_left, "the dead backup to be cleared away")


@pytest.mark.parametrize("point", _OF_A_BACKUP, ids=lambda point: point[2])
def test_a_backup(safe: Safe, acme: House, point: tuple[str, str, str]) -> None:
    document = safe.upload(acme, "plans.txt", b"plans")
    die(safe, "take", point, acme, "")
    clear_up(safe)
    assert objects(safe, acme) == []
    assert safe.read(acme, document) == b"plans"
    assert {name.split("/")[2] for name in objects_after(safe, acme)} != set()


def objects_after(safe: Safe, house: House) -> list[str]:
    safe.take(house)
    return objects(safe, house)


@pytest.mark.parametrize("point", _OF_A_RESTORATION, ids=lambda point: point[2])
def test_a_restoration(safe: Safe, acme: House, point: tuple[str, str, str]) -> None:
    document = safe.upload(acme, "plans.txt", b"plans")
    backup: UUID = safe.take(acme)
    die(safe, "restore", point, acme, str(backup))
    [half] = beside(acme)
    assert not [f for f in reconciliation.find_faults(safe.lab.manager) if f.tenant_id == acme.id]
    until(lambda: _cleared(safe, acme), "what was half restored to be dropped")
    assert databases(safe, acme) == {acme.database}
    assert list(safe.storage.keys(f"tenants/{half}")) == []
    assert safe.read(acme, document) == b"plans"
    assert safe.restore(acme, backup).tables["documents"] == 1


def _cleared(safe: Safe, house: House) -> bool:
    upkeep.clear_up(safe.lab.manager, safe.storage, safe.lab.settings)
    return beside(house) == []
