"""Versity's S3 gateway as a child process: a real S3 server on a folder. Tests only."""

import os
import secrets
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from embedded.ports import LOOPBACK, free_port
from embedded.process import ChildProcess, Command
from embedded.server import EmbeddedServer

_READY_SECONDS = 20.0
_SECONDS = 5.0
_NOT_SIGNED = 403


class VersityGateway(EmbeddedServer):
    """A server of its own on ``data_dir``, for as long as this object is started.

    It listens on 127.0.0.1 with credentials made up at each start. ``prefix`` goes in front of the
    program, for one that shall see other folders than we do.
    """

    def __init__(self, data_dir: Path, *, binary: Path, prefix: tuple[str, ...] = ()) -> None:
        super().__init__(data_dir, durable=True, log=None)
        self.binary = binary
        self.port = free_port()
        self.access_key = secrets.token_hex(10)
        self.secret_key = secrets.token_urlsafe(24)
        self._prefix = prefix

    @property
    def url(self) -> str:
        """http://access-key:secret-key@127.0.0.1:port."""
        return f"http://{self.access_key}:{self.secret_key}@{LOOPBACK}:{self.port}"

    @property
    def objects(self) -> Path:
        """One folder per bucket, one file per object."""
        return self.data_dir / "objects"

    def _start(self) -> None:
        accounts = self.data_dir / "accounts"
        for folder in (self.objects, accounts):
            folder.mkdir(exist_ok=True)
        options = ["--port", f"{LOOPBACK}:{self.port}", "--iam-dir", str(accounts)]
        options += ["--keep-alive", "--quiet"]
        self._child = ChildProcess(
            Command(
                name="S3 (versitygw)",
                program=[*self._prefix, str(self.binary), *options, "posix", str(self.objects)],
                log=self.log,
                folder=self.data_dir,
                # Not arguments: those are for everybody on this machine to read.
                environment={
                    "PATH": os.environ.get("PATH", os.defpath),
                    "ROOT_ACCESS_KEY": self.access_key,
                    "ROOT_SECRET_KEY": self.secret_key,
                },
            )
        )
        self._child.wait_until(lambda: answers(self.port), seconds=_READY_SECONDS)


def answers(port: int) -> bool:
    """Whether an S3 server refuses what is not signed."""
    connection = HTTPConnection(LOOPBACK, port, timeout=_SECONDS)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == _NOT_SIGNED
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
