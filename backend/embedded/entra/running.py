"""The stand-in as a process of its own, beside the application."""

import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from embedded.ports import free_port
from embedded.process import ChildProcess, Command

_READY_SECONDS = 30.0


@dataclass(frozen=True)
class DemoDirectory:
    """Acme's directory for people who try a sign-in on their own machine."""

    folder: Path
    api_port: int
    port: int = field(default_factory=free_port)
    front: int = field(default_factory=free_port)

    @property
    def environment(self) -> dict[str, str]:
        """What the application has to know of it."""
        page = f"http://localhost:{self.front}"
        return {
            "AZURE_AUTHORITY_URL": f"https://localhost:{self.port}",
            "GRAPH_URL": f"https://localhost:{self.port}",
            "AZURE_CA_FILE": str(self.folder / "authority.pem"),
            "CORS_ORIGINS": f"http://localhost:3000,{page}",
            "SSO_DEMO_PAGE": page,
        }

    def start(self, stack: ExitStack, backend: Path, logs: Path) -> ChildProcess:
        """Runs until the stack is closed."""
        callback = f"http://localhost:{self.api_port}/api/auth/sso/azure/callback"
        options = {
            "--folder": str(self.folder),
            "--port": str(self.port),
            "--front": str(self.front),
            "--callback": callback,
        }
        flags = [part for pair in options.items() for part in pair]
        command = Command(
            name="The stand-in for Entra ID",
            program=[sys.executable, "-m", "embedded.entra", *flags],
            log=logs / "entra.log",
            folder=backend,
        )
        child = stack.enter_context(ChildProcess(command))
        child.wait_until(lambda: "ready." in child.words(), seconds=_READY_SECONDS)
        return child
