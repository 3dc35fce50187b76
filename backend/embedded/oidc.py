"""The npm package oidc-provider as a child process, at the addresses of Entra ID. Tests only."""

from pathlib import Path
from urllib.parse import urlsplit

import requests

from embedded import npm
from embedded.entra.certificates import make_certificates
from embedded.ports import free_port
from embedded.process import ChildProcess, Command
from embedded.server import EmbeddedServer

_READY_SECONDS = 60.0
_SECONDS = 30.0
_NOT_FOUND = 404


class OidcProvider(EmbeddedServer):
    """It listens on 127.0.0.1, with TLS, and knows no directory before it is given one."""

    def __init__(self, data_dir: Path, *, program: Path) -> None:
        super().__init__(data_dir, durable=False, log=None)
        self._program = program
        self._port = free_port()
        self._ca_file = Path()

    @property
    def url(self) -> str:
        """Its origin; behind # the file of the authority that its certificate is signed by."""
        return f"https://localhost:{self._port}#{self._ca_file}"

    def _start(self) -> None:
        self._ca_file, certificate = make_certificates(self.data_dir)
        script = str(self._program / "server.mjs")
        self._child = ChildProcess(
            Command(
                name="oidc-provider",
                program=[
                    *(str(npm.node_program(self._program)), script),
                    *(str(self._port), str(certificate)),
                ],
                log=self.log,
                folder=self.data_dir,
                environment={},
            )
        )
        self._child.wait_until(lambda: answers(self.url), seconds=_READY_SECONDS)


def origin_and_ca_file(url: str) -> tuple[str, Path]:
    """Both parts of the URL."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}", Path(parts.fragment)


def answers(url: str) -> bool:
    origin, ca_file = origin_and_ca_file(url)
    try:
        with requests.Session() as session:
            session.trust_env = False
            answer = session.get(origin, verify=str(ca_file), timeout=_SECONDS)
            return answer.status_code == _NOT_FOUND
    except requests.RequestException:
        return False
