"""HashiCorp's Vault as a child process, built from its own modules. Tests only."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import hvac
import requests

from embedded.environment import write_private
from embedded.ports import LOOPBACK, free_port
from embedded.process import ChildProcess, Command
from embedded.server import EmbeddedServer

_READY_SECONDS = 60.0
_SECONDS = 30.0
_OK = 200


class VaultServer(EmbeddedServer):
    """A server of its own on ``data_dir``, for as long as this object is started.

    It listens on 127.0.0.1, without TLS. Its first start initialises it with one key, which is kept
    beside the data, and every start unseals it; ``untouched``, it is left as it starts by itself.
    """

    def __init__(self, data_dir: Path, *, binary: Path, untouched: bool = False) -> None:
        super().__init__(data_dir, durable=True, log=None)
        self.binary = binary
        self.port = free_port()
        self._untouched = untouched
        self._keys: dict[str, Any] = {}

    @property
    def address(self) -> str:
        """http://127.0.0.1:port."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def url(self) -> str:
        """The address with the root token as a password."""
        return f"http://root:{self._keys['root_token']}@{LOOPBACK}:{self.port}"

    @property
    def unseal_key(self) -> str:
        """The one key that unseals it."""
        return str(self._keys["keys_base64"][0])

    def root(self) -> hvac.Client:
        """A client that may do everything."""
        return client(self.url)

    def unseal(self) -> None:
        """After a start, and after ``root().sys.seal()``."""
        hvac.Client(self.address, token="", timeout=_SECONDS).sys.submit_unseal_key(self.unseal_key)
        self.child.wait_until(lambda: answers(self.url), seconds=_READY_SECONDS)

    def _start(self) -> None:
        storage = f"file:{self.data_dir / 'storage'}"
        self._child = ChildProcess(
            Command(
                name="Vault",
                program=[
                    *(str(self.binary), "-addr", f"{LOOPBACK}:{self.port}", "-storage", storage)
                ],
                log=self.log,
                folder=self.data_dir,
                environment={},
            )
        )
        self._child.wait_until(self._listens, seconds=_READY_SECONDS)
        if not self._untouched:
            self._initialise()
            self.unseal()

    def _initialise(self) -> None:
        kept = self.data_dir / "keys.json"
        if not kept.exists():
            anybody = hvac.Client(self.address, token="", timeout=_SECONDS)
            write_private(kept, json.dumps(anybody.sys.initialize(1, 1)))
        self._keys = json.loads(kept.read_text(encoding="utf-8"))

    def _listens(self) -> bool:
        return _health(self.address) is not None


def client(url: str) -> hvac.Client:
    """Whoever the URL's password is the token of."""
    parts = urlsplit(url)
    address = f"{parts.scheme}://{parts.hostname}:{parts.port}"
    return hvac.Client(address, token=parts.password or "", timeout=_SECONDS)


def answers(url: str) -> bool:
    """Whether a server is there and unsealed."""
    parts = urlsplit(url)
    return _health(f"{parts.scheme}://{parts.hostname}:{parts.port}") == _OK


def _health(address: str) -> int | None:
    try:
        with requests.Session() as session:
            session.trust_env = False
            return session.get(f"{address}/v1/sys/health", timeout=_SECONDS).status_code
    except requests.RequestException:
        return None
