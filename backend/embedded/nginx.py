"""Nginx as a child process, with a configuration of the caller's. Tests and measurements only."""

import os
from pathlib import Path

from embedded.ports import LOOPBACK, free_port, is_taken
from embedded.process import ChildProcess, Command
from embedded.server import EmbeddedServer

_READY_SECONDS = 10.0
_FRAME = """
daemon off;
worker_processes 1;
pid "{folder}/nginx.pid";
error_log stderr warn;
{user}
events {{ }}
http {{
    access_log off;
    client_body_temp_path "{folder}/body";
    proxy_temp_path "{folder}/proxy";
    fastcgi_temp_path "{folder}/fastcgi";
    uwsgi_temp_path "{folder}/uwsgi";
    scgi_temp_path "{folder}/scgi";
    {servers}
}}
"""


class NginxServer(EmbeddedServer):
    """``servers`` is what stands inside ``http {}``; it says ``listen {address}``."""

    def __init__(self, data_dir: Path, *, binary: str, servers: str) -> None:
        super().__init__(data_dir, durable=False, log=None)
        self._binary = binary
        self._servers = servers
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def _start(self) -> None:
        configuration = self.data_dir / "nginx.conf"
        configuration.write_text(
            _FRAME.format(
                folder=self.data_dir,
                # Its workers read what we may read.
                user="user root;" if os.geteuid() == 0 else "",
                servers=self._servers.replace("{address}", f"{LOOPBACK}:{self.port}"),
            )
        )
        self._child = ChildProcess(
            Command(
                name="nginx",
                program=[self._binary, "-p", str(self.data_dir), "-c", str(configuration)],
                log=self.log,
                folder=self.data_dir,
            )
        )
        self._child.wait_until(lambda: is_taken(self.port), seconds=_READY_SECONDS)
