"""Real servers that stay after the command that started them: a process of their own keeps them."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from embedded import real
from embedded.environment import EnvironmentFile, write_private
from embedded.errors import EmbeddedError, StoppedEarly
from embedded.locks import FolderLock
from embedded.signals import StopRequested, stop_on_signals

_START_SECONDS = 90.0
_STOP_SECONDS = 30.0
_LOOK_EVERY = 0.1


@dataclass(frozen=True)
class Keeper:
    """The state of the kept servers in one folder; at most one keeper works on it."""

    folder: Path

    @property
    def state_file(self) -> Path:
        """Which servers run, and where their URLs are written. Only there while they do."""
        return self.folder / "state.json"

    @property
    def log(self) -> Path:
        """What the keeper says."""
        return self.folder / "keeper.log"

    def pid(self) -> int | None:
        """Of the process that keeps them; the lock tells the living from the dead."""
        return FolderLock(self.folder).holder() if self.folder.exists() else None

    def state(self) -> tuple[list[str], EnvironmentFile] | None:
        """Names and environment file; nothing when none run."""
        if self.pid() is None or not self.state_file.exists():
            return None
        state = json.loads(self.state_file.read_text())
        return state["names"], EnvironmentFile(Path(state["environment_file"]))

    def start(self, script: Path, names: Sequence[str], environment_file: Path) -> None:
        """Leave a keeper behind, and wait until its servers are well."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.state_file.unlink(missing_ok=True)  # of a keeper that was killed
        order = ["keep", *names, "--env-file", str(environment_file)]
        command = [sys.executable, str(script), "--cache", str(self.folder.parent), *order]
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_SECONDS
        while self.state() is None:
            if process.poll() is not None:
                raise StoppedEarly(self.log.read_text().strip())
            if time.monotonic() > deadline:
                process.terminate()
                raise StoppedEarly(f"Not ready after {_START_SECONDS:.0f} s. Its log: {self.log}")
            time.sleep(_LOOK_EVERY)
        process.returncode = 0  # it is meant to outlive us: nothing to reap, nothing to warn of

    def keep(self, names: Sequence[str], environment_file: Path) -> None:
        """Be the keeper: run the servers until a signal, or until one of them ends."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FolderLock(self.folder)
        lock.acquire()
        for name in names:  # every start is a fresh one
            shutil.rmtree(self.folder / name, ignore_errors=True)
        try:
            with stop_on_signals(), real.running(names, self.folder) as servers:
                text = "".join(f"{key}={value}\n" for key, value in servers.environment.items())
                write_private(environment_file, text)
                state = {"names": list(names), "environment_file": str(environment_file)}
                write_private(self.state_file, json.dumps(state))
                while all(child.alive for child in servers.children):
                    time.sleep(_LOOK_EVERY)
                raise StoppedEarly(next(c.obituary() for c in servers.children if not c.alive))
        except StopRequested:
            pass
        finally:
            self.state_file.unlink(missing_ok=True)
            environment_file.unlink(missing_ok=True)
            lock.release()

    def wait_until_gone(self) -> None:
        """After it was asked to stop."""
        deadline = time.monotonic() + _STOP_SECONDS
        while self.pid() is not None:
            if time.monotonic() > deadline:
                raise EmbeddedError(f"It has not stopped after {_STOP_SECONDS:.0f} s: {self.log}")
            time.sleep(_LOOK_EVERY)
