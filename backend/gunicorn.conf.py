"""What gunicorn is told wherever it is started in this folder."""

# ruff: noqa: PLC0415  # prometheus_client looks for its folder when it is imported
import gc
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_PREFIX = "tenantry-metrics-"


def _number(name: str, default: int) -> int:
    """Of a setting that gunicorn's master needs; the workers refuse to start with a wrong one."""
    given = os.environ.get(name, "")
    return int(given) if given.isdecimal() and int(given) else default


worker_class = "api_worker.Worker"
workers = _number("API_WORKERS", 2)
threads = _number("API_THREADS", 4)
# TERM and HUP let requests under way end for so long, downloads and uploads among them.
graceful_timeout = 30
# Longer than proxies keep connections that they do not use, so that none sends on a closing one.
keepalive = 75

# Whom to believe about clients is decided once, by TRUSTED_PROXIES (app/core/proxies.py). Of itself
# gunicorn takes the scheme from whoever connects from this machine.
forwarded_allow_ips = ""


def on_starting(_server: Any) -> None:
    """An empty folder for the workers' figures: those of a former run count no more."""
    given = os.environ.get(_VARIABLE)
    folder = Path(given or tempfile.mkdtemp(prefix=_PREFIX))
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("*.db"):
        file.unlink()
    os.environ[_VARIABLE] = str(folder)


def post_fork(_server: Any, _worker: Any) -> None:
    """What is imported stays: looking for garbage in it takes a fifth of the time to start."""
    gc.disable()


def post_worker_init(worker: Any) -> None:
    """Each worker notes its figures, because any other may be asked for them."""
    gc.freeze()
    gc.enable()
    worker.wsgi.extensions["metrics"].keep_sampling(lambda: worker.waiting)


def child_exit(_server: Any, worker: Any) -> None:
    """What a dead worker counted stays counted; the connections that it had open are gone."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(worker.pid)


def on_exit(server: Any) -> None:
    """Not where another master has taken over, by USR2: the folder is that one's then."""
    folder = Path(os.environ[_VARIABLE])
    if folder.name.startswith(_PREFIX) and not server.reexec_pid:
        shutil.rmtree(folder, ignore_errors=True)
