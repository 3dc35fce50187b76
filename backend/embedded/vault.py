"""HashiCorp's Vault as a child process, built from its own modules. Tests only."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import hvac
import requests

from embedded.entra.certificates import make_certificates
from embedded.environment import write_private
from embedded.ports import LOOPBACK, free_port
from embedded.process import ChildProcess, Command
from embedded.server import EmbeddedServer

_READY_SECONDS = 60.0
_SECONDS = 30.0
_OK = 200


class VaultServer(EmbeddedServer):
    """A server of its own on ``data_dir``, for as long as this object is started.

    It listens on 127.0.0.1; with ``tls``, by a certificate that an authority of its own has signed.
    Its first start initialises it with one key, which is kept beside the data, and every start
    unseals it; ``untouched``, it is left as it starts by itself.
    """

    def __init__(
        self, data_dir: Path, *, binary: Path, untouched: bool = False, tls: bool = False
    ) -> None:
        super().__init__(data_dir, durable=True, log=None)
        self.binary = binary
        self.port = free_port()
        self.ca_file: Path | None = None
        self._untouched, self._tls = untouched, tls
        self._keys: dict[str, Any] = {}

    @property
    def address(self) -> str:
        """http://127.0.0.1:port, or https."""
        return f"{'https' if self._tls else 'http'}://{LOOPBACK}:{self.port}"

    @property
    def url(self) -> str:
        """The address with the root token as a password."""
        return self.address.replace("://", f"://root:{self._keys['root_token']}@")

    @property
    def unseal_key(self) -> str:
        """The one key that unseals it."""
        return str(self._keys["keys_base64"][0])

    def root(self) -> hvac.Client:
        """A client that may do everything."""
        return client(self.url, self.ca_file)

    def unseal(self) -> None:
        """After a start, and after ``root().sys.seal()``."""
        client(self.address, self.ca_file).sys.submit_unseal_key(self.unseal_key)
        self.child.wait_until(lambda: answers(self.url, self.ca_file), seconds=_READY_SECONDS)

    def _start(self) -> None:
        options = ["-addr", f"{LOOPBACK}:{self.port}"]
        options += ["-storage", f"file:{self.data_dir / 'storage'}"]
        if self._tls:
            self.ca_file, certificate = make_certificates(self.data_dir)
            options += ["-tls-cert", str(certificate)]
        self._child = ChildProcess(
            Command(
                name="Vault",
                program=[str(self.binary), *options],
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
            anybody = client(self.address, self.ca_file)
            write_private(kept, json.dumps(anybody.sys.initialize(1, 1)))
        self._keys = json.loads(kept.read_text(encoding="utf-8"))

    def _listens(self) -> bool:
        return _health(self.address, self.ca_file) is not None


def client(url: str, ca_file: Path | None = None) -> hvac.Client:
    """Whoever the URL's password is the token of."""
    parts = urlsplit(url)
    address = f"{parts.scheme}://{parts.hostname}:{parts.port}"
    verify = True if ca_file is None else str(ca_file)
    return hvac.Client(address, token=parts.password or "", timeout=_SECONDS, verify=verify)


def answers(url: str, ca_file: Path | None = None) -> bool:
    """Whether a server is there and unsealed."""
    parts = urlsplit(url)
    return _health(f"{parts.scheme}://{parts.hostname}:{parts.port}", ca_file) == _OK


def _health(address: str, ca_file: Path | None = None) -> int | None:
    try:
        with requests.Session() as session:
            session.trust_env = False
            session.verify = True if ca_file is None else str(ca_file)
            return session.get(f"{address}/v1/sys/health", timeout=_SECONDS).status_code
    except requests.RequestException:
        return None
