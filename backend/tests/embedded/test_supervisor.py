"""The supervisor behind `make run`, around a miniature of the application."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from embedded.ports import free_port
from tests.embedded.processes import descendants, living, wait_for

PROJECT = Path(__file__).parents[3]
BOOTSTRAP = """
import os, sys
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
names = "DATABASE_URL", "DATABASE_OWNER_URL", "DATABASE_PLATFORM_URL", "PROVISIONER_URL"
with open(options["--env-file"], "a") as file:
    file.writelines(f"{name}={os.environ['ADMIN_DATABASE_URL']}\\n" for name in names)
"""
INIT_DB = """
import json, os
alice = {"email": "alice@acme.example", "password": os.environ["DEMO_PASSWORD"], "note": ""}
print(json.dumps({"created": [], "credentials": [alice]}))
"""
WSGI = """
import sys
print("imported", file=sys.stderr, flush=True)

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"first"]
"""
WORKER = """
import os
from celery import Celery
QUEUES = ("default",)
celery = Celery(broker=os.environ["REDIS_URL"])
celery.conf.broker_connection_retry_on_startup = True
"""

SCHEDULER = """
import time
if __name__ == "__main__":
    print("ready.", flush=True)
    while True:
        time.sleep(60)
"""


class Run:
    """One `make run`."""

    def __init__(self, root: Path, port: int, said: str = "said") -> None:
        self.root, self.port = root, port
        self.said = root / said
        kept = {name: value for name, value in os.environ.items() if "DATABASE" not in name}
        kept.pop("REDIS_URL", None)
        with self.said.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, str(root / "scripts" / "run.py")],
                env={**kept, "PORT": str(port), "PYTHONIOENCODING": "utf-8"},
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    @property
    def text(self) -> str:
        return self.said.read_text()

    def wait_for(self, text: str) -> None:
        wait_for(lambda: text in self.text or self.process.poll() is not None, seconds=60)
        assert text in self.text, self.text

    def answer(self) -> str:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/")
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def end(self, number: signal.Signals) -> int:
        """The exit code; an earlier one when it has ended before."""
        self.process.send_signal(number)
        return self.process.wait(30)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project of few lines, in a path with spaces."""
    root = tmp_path / "a project"
    (root / "backend").mkdir(parents=True)
    (root / "scripts").mkdir()
    (root / "backend" / "embedded").symlink_to(PROJECT / "backend" / "embedded")
    shutil.copy(PROJECT / "scripts" / "run.py", root / "scripts")
    (root / "scripts" / "bootstrap_server.py").write_text(BOOTSTRAP)
    (root / "scripts" / "init_db.py").write_text(INIT_DB)
    (root / "scripts" / "init_storage.py").touch()
    (root / "backend" / "wsgi.py").write_text(WSGI)
    (root / "backend" / "celery_worker.py").write_text(WORKER)
    for program in ("scheduler.py", "consumer.py", "relay.py"):
        (root / "backend" / program).write_text(SCHEDULER)
    return root


@pytest.fixture
def running(root: Path) -> Iterator[Run]:
    run = Run(root, free_port())
    try:
        run.wait_for("Tenantry answers on")
        yield run
    finally:
        run.end(signal.SIGTERM)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_it(running: Run, number: signal.Signals) -> None:
    children = descendants(running.process.pid)
    # Two servers, scheduler, consumer, gunicorn, celery, and both's workers.
    assert len(living(children)) >= 9
    code = running.end(number)
    assert code == (0 if number != signal.SIGKILL else -signal.SIGKILL), running.text
    wait_for(lambda: not living(children))
    assert {path.name for path in running.root.iterdir()} == {
        ".data",
        "backend",
        "scripts",
        "said",
    }


def test_it_hands_out_what_the_tour_needs_and_keeps_a_second_one_away(running: Run) -> None:
    known = json.loads((running.root / ".data" / "credentials.json").read_text())
    assert known["url"] == f"http://localhost:{running.port}"
    assert [person["email"] for person in known["people"]] == ["alice@acme.example"]
    assert "✓" in running.text
    second = Run(running.root, free_port(), said="said by the second")
    assert second.process.wait(30) == 1
    assert f"in use by process {running.process.pid}" in second.text
    assert running.answer() == "first"


def test_code_is_loaded_when_it_changes_and_kept_when_it_is_broken(running: Run) -> None:
    log = running.root / ".data" / "logs" / "api.log"
    wait_for(lambda: log.read_text().count("imported") == 2)  # by both workers
    code = running.root / "backend" / "wsgi.py"
    code.write_text("def (\n")
    running.wait_for("not loaded; the code from before goes on running")
    assert running.answer() == "first"
    code.write_text(WSGI.replace("first", "second"))
    running.wait_for("wsgi.py: loaded in")
    wait_for(lambda: running.answer() == "second")
    assert running.process.poll() is None


def test_an_api_that_cannot_start_again_waits_for_better_code(running: Run) -> None:
    """The check before a reload passes; under gunicorn the same code fails."""
    code = running.root / "backend" / "wsgi.py"
    code.write_text('import sys\nassert "gunicorn" not in sys.modules\n' + WSGI)
    running.wait_for("It starts again with the next change of the code.")
    code.write_text(WSGI.replace("first", "third"))
    wait_for(lambda: running.text.count("wsgi.py: loaded in") == 2)
    wait_for(lambda: running.answer() == "third")


def test_the_end_of_a_server_ends_it_with_the_reason(running: Run) -> None:
    pid_file = running.root / ".data" / "postgres" / "cluster" / "postmaster.pid"
    os.kill(int(pid_file.read_text().split()[0]), signal.SIGKILL)
    assert running.process.wait(30) == 1
    assert "PostgreSQL" in running.text.split("ended (killed by SIGKILL)")[0]


def test_a_taken_port_is_said_before_anything_starts(root: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        run = Run(root, other.getsockname()[1])
        assert run.process.wait(30) == 1
    assert "is taken by another program" in run.text
    assert not (root / ".data" / "postgres").exists()
