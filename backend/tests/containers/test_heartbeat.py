"""A process that answers no requests touches a file as long as it works."""

import os
import subprocess
from pathlib import Path

from app.core.heartbeat import Heartbeat
from app.settings import Settings
from tests.paths import PROJECT


def healthy(file: Path) -> bool:
    """What the container's health check says."""
    script = str(PROJECT / "docker" / "healthy.sh")
    environment = {"PATH": os.environ["PATH"], "HEARTBEAT_FILE": str(file)}
    done = subprocess.run(["sh", script], env=environment, check=False, timeout=20)
    return done.returncode == 0


def test_it_is_touched_and_grows_old(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "heartbeat"
    assert not healthy(file)
    Heartbeat(settings.model_copy(update={"heartbeat_file": file})).beat()
    assert healthy(file)
    os.utime(file, (1, 1))
    assert not healthy(file)


def test_without_a_file_there_is_none(settings: Settings) -> None:
    Heartbeat(settings.model_copy(update={"heartbeat_file": None})).beat()
