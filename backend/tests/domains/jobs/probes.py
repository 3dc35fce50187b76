"""Jobs that tell a file what becomes of them."""

import os
import signal
from pathlib import Path
from typing import Final
from uuid import UUID

from app.core.db import MainSession
from app.core.tasks import TaskDefinition
from app.domains.identity.models import User
from app.tenancy.sessions import TenantSession
from tests.embedded.processes import wait_for


def tell(path: str, word: str) -> None:
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(f"{word}\n")


def told(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def note(session: MainSession, path: str) -> None:
    tell(path, str(session.tenant_id))


def slow(session: MainSession, path: str) -> None:
    """Ends once there is a file beside ``path`` that lets it."""
    tell(path, "began")
    wait_for(Path(f"{path}.go").exists)
    tell(path, "ended")


def tenant(session: TenantSession, path: str) -> None:
    tell(path, session.location.database)


def several(path: str) -> None:
    tell(path, "no session")


def half(session: MainSession, user_id: str) -> None:
    """Writes, and fails before its transaction ends."""
    session.add(User(id=UUID(user_id), email=f"{user_id}@example.com", name="Bob"))
    session.flush()
    raise LookupError("poisoned\nDETAIL: Key (email)=(bob@example.com)")


def unprintable(session: MainSession) -> None:
    raise ValueError("\x00" + "x" * 10_000)


def deadly(session: MainSession, path: str) -> None:
    tell(path, "began")
    os.kill(os.getpid(), signal.SIGKILL)


# None of the application's: whoever needs them adds them to DEFINITIONS.
PROBES: Final = {
    definition.name: definition
    for definition in (
        TaskDefinition("jobs.note", "default", "main", note),
        TaskDefinition("jobs.slow", "default", "main", slow),
        TaskDefinition("jobs.tenant", "documents", "tenant", tenant),
        TaskDefinition("jobs.several", "default", None, several),
        TaskDefinition("jobs.half", "default", "main", half),
        TaskDefinition("jobs.unprintable", "default", "main", unprintable),
        TaskDefinition("jobs.deadly", "default", "main", deadly),
    )
}
