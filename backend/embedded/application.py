"""The application's own processes, and the check before a reload."""

import json
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from embedded import access_log
from embedded.errors import EmbeddedError
from embedded.process import Command

_IMPORT_SECONDS = 60.0
_GRACE = 5.0
_IMPORT = """
import json, wsgi, scheduler, consumer, relay, celery_worker
print("\\n" + json.dumps(list(celery_worker.QUEUES)))
"""


class DoesNotLoad(EmbeddedError):
    """The application cannot be imported; the message ends with Python's own."""


@dataclass(frozen=True)
class Application:
    """Where the code is, where its processes log, and what they get told."""

    backend: Path
    logs: Path
    environment: Mapping[str, str]
    port: int

    def queues(self) -> Sequence[str]:
        """Import everything in a process of its own, as the real ones will; return the queues.

        gunicorn's master ends when its workers cannot be imported, so that nothing is reloaded
        before this has passed.
        """
        try:
            answer = subprocess.run(
                [sys.executable, "-c", _IMPORT],
                cwd=self.backend,
                env=self.environment,
                capture_output=True,
                text=True,
                check=True,
                timeout=_IMPORT_SECONDS,
            )
        except subprocess.CalledProcessError as error:
            raise DoesNotLoad(_last_lines(error.stderr)) from error
        except subprocess.TimeoutExpired as error:
            raise DoesNotLoad(
                f"The application was not imported within {_IMPORT_SECONDS:.0f} s."
            ) from error
        names: list[str] = json.loads(answer.stdout.splitlines()[-1])
        return names

    @property
    def access_log(self) -> Path:
        """One line per request."""
        return self.logs / "access.log"

    def api(self) -> Command:
        """gunicorn, with `gunicorn.conf.py`; HUP loads the code anew."""
        options = {
            "--bind": f"127.0.0.1:{self.port}",
            "--workers": self.environment.get("API_WORKERS", "2"),
            "--threads": self.environment.get("API_THREADS", "4"),
            "--graceful-timeout": f"{_GRACE - 1:.0f}",
            "--access-logfile": str(self.access_log),
            "--access-logformat": access_log.FORMAT,
            "--logger-class": f"{access_log.__name__}.{access_log.AccessLog.__name__}",
        }
        flags = [part for pair in options.items() for part in pair]
        program = [sys.executable, "-m", "gunicorn", *flags, "--no-control-socket", "wsgi:app"]
        return self._command("The API (gunicorn)", program, "api.log")

    def behind(self, queues: Sequence[str]) -> list[Command]:
        """What works behind the API; each logs "ready." once it is."""
        relays = [self.relay()] if self._has_kafka else []
        return [self.worker(queues), self.scheduler(), self.consumer(), *relays]

    def worker(self, queues: Sequence[str]) -> Command:
        """One Celery worker for all queues."""
        options = ["--loglevel", "INFO", "--concurrency", "2", "--without-gossip"]
        options += ["--without-mingle", "-n", "all@%h", "-Q", ",".join(queues)]
        program = [sys.executable, "-m", "celery", "-A", "celery_worker:celery", "worker", *options]
        # TERM finishes the running jobs first. At our own end nobody is left who could cut that
        # short, and the broker is gone as well.
        return replace(
            self._command("The job worker (celery)", program, "worker.log"),
            death_signal=signal.SIGQUIT,
            leaves_children=True,
        )

    def scheduler(self) -> Command:
        """What tells the worker of jobs whose time has come."""
        return self._command("The scheduler", [sys.executable, "scheduler.py"], "scheduler.log")

    def consumer(self) -> Command:
        """What does what follows from events."""
        return self._command("The consumer", [sys.executable, "consumer.py"], "consumer.log")

    def relay(self) -> Command:
        """What sends events to Kafka."""
        return self._command("The relay", [sys.executable, "relay.py"], "relay.log")

    @property
    def _has_kafka(self) -> bool:
        """Without it the consumer takes events from the outboxes itself."""
        return self.environment.get("ENABLE_KAFKA_EVENTS", "").lower() in {"1", "true", "yes", "on"}

    def _command(self, name: str, program: list[str], log: str) -> Command:
        return Command(
            name=name,
            program=program,
            log=self.logs / log,
            folder=self.backend,
            environment=self.environment,
            grace=_GRACE,
        )


def _last_lines(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.rstrip().splitlines()[-8:])
