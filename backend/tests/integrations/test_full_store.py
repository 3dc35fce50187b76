"""Stores without room: on a small file system of their own, in a mount namespace."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from flask import Flask

from app.settings import Settings
from embedded import real
from embedded.versitygw import VersityGateway
from tests.cast import new_house, new_person
from tests.core.answers import refusal
from tests.domains.documents.files import send, upload
from tests.domains.documents.products import product
from tests.integrations.full_disk import MIB


def with_small(folder: Path, *, size: str = "12m") -> tuple[str, ...]:
    """What stands in front of a program that shall find a small file system there.

    Skips where this machine lets us mount nothing, not even for ourselves.
    """
    folder.mkdir(parents=True, exist_ok=True)
    as_somebody = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    mount = f'mount -t tmpfs -o size={size} none "$0" && exec "$@"'
    prefix = ("unshare", "--mount", *as_somebody, "sh", "-c", mount, str(folder))
    if (
        shutil.which("unshare") is None
        or subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("needs a mount namespace (unshare)")
    return prefix


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    prefix = with_small(folder)
    script = Path(__file__).with_name("full_disk.py")
    done = subprocess.run(
        [*prefix, sys.executable, str(script), str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "refused": [507, 507],
        "whole": True,
        "files": [".tenantry-store", "kept", "large"],
    }


def test_a_full_s3_server_loses_nothing(app: Flask, settings: Settings, tmp_path: Path) -> None:
    program = real.SERVICES["s3"].program()
    if program is None:
        pytest.skip("needs an S3 server: scripts/services.py install s3")
    prefix = with_small(tmp_path / "s3" / "objects")
    with (
        VersityGateway(tmp_path / "s3", binary=program, prefix=prefix) as gateway,
        product("s3", settings, tmp_path, gateway.url) as own,
        own.app_context(),
    ):
        owner = new_person(own, "Alice")
        house = new_house("full", owner)
        kept = upload(owner, house, b"k" * MIB)
        for size in (11, 40):  # in one piece, and in parts
            refusal(send(owner, house, b"l" * size * MIB), 507, "storage_full")
        path = f"{house.documents}/{kept['id']}/download"
        assert owner.get(path).data == b"k" * MIB
        assert upload(owner, house, b"s" * MIB)["size"] == MIB
        assert len(owner.get(house.documents).get_json()["items"]) == 2
