"""The tenants' migration tree: its revisions in order, and what each says of itself.

A migration's module says how it is to be treated, each time with a default that fits most:

- ``per_tenant = True``: it runs Python at each tenant, and its SQL cannot be rendered beforehand;
- ``autocommit = True``: its statements cannot run in a transaction, and can each be repeated;
- ``code_can_wait = True``: the code that ships with it also serves a database without it;
- ``breaks_older_code = True``: the code of the release before cannot serve a database with it;
- ``unsafe_reason = "…"``: why a step that the lint refuses is right here.
"""

import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.script import Script, ScriptDirectory

from app.core.db import MIGRATIONS


class UnknownRevision(LookupError):
    """No migration of this code has the revision: other code made it."""

    def __init__(self, revision: str) -> None:
        super().__init__(f"this code knows no schema revision {revision!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """One migration. ``down`` is None for the first, and ``upgrade`` calls Alembic's ``op``."""

    id: str
    down: str | None
    title: str
    path: Path
    upgrade: Callable[[], None]
    downgrade: Callable[[], None]
    per_tenant: bool
    autocommit: bool
    code_can_wait: bool
    breaks_older_code: bool
    unsafe_reason: str | None


class Tree:
    """The migrations in a folder: one line from the first to the head."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._reading = threading.RLock()

    @property
    def config(self) -> Config:
        config = Config()
        config.set_main_option("script_location", str(self.folder).replace("%", "%%"))
        return config

    @cached_property
    def revisions(self) -> tuple[Revision, ...]:
        """Oldest first."""
        with self._reading:
            scripts = ScriptDirectory.from_config(self.config).walk_revisions("base", "heads")
            line = tuple(_read(script) for script in scripts)[::-1]
        for before, after in zip((None, *line), line, strict=False):
            if after.down != (before.id if before else None):
                raise LookupError(f"revision {after.id} does not follow the one before it")
        if not line:
            raise LookupError("the tenants' migration tree is empty")
        return line

    @property
    def head(self) -> str:
        return self.revisions[-1].id

    @cached_property
    def supported(self) -> frozenset[str]:
        """The head, and what lies before it for as long as the code can wait for the difference."""
        found = {self.head}
        for revision in reversed(self.revisions):
            if not revision.code_can_wait or revision.down is None:
                break
            found.add(revision.down)
        return frozenset(found)

    @cached_property
    def digest(self) -> str:
        digest = hashlib.sha256()
        for path in sorted(self.folder.rglob("*.py")):
            digest.update(path.read_bytes())
        return digest.hexdigest()[:16]

    def oldest_code(self, revision: str) -> str:
        """The head that code must know, at least, to serve a database at the revision."""
        upto = self.revisions[: self.place(revision) + 1]
        breaking = [each.id for each in upto if each.breaks_older_code]
        return breaking[-1] if breaking else upto[0].id

    def knows(self, revision: str) -> bool:
        return revision in self._ids

    @cached_property
    def _ids(self) -> frozenset[str]:
        return frozenset(each.id for each in self.revisions)

    def place(self, revision: str | None) -> int:
        """Its index among the revisions; -1 for an empty database.

        Raises:
            UnknownRevision: there is no such migration.
        """
        if revision is None:
            return -1
        for place, each in enumerate(self.revisions):
            if each.id == revision:
                return place
        raise UnknownRevision(revision)

    def way(self, source: str | None, target: str | None) -> Sequence[tuple[Revision, bool]]:
        """The revisions to pass from one to the other, each with whether upwards."""
        start, end = self.place(source), self.place(target)
        if end >= start:
            return [(each, True) for each in self.revisions[start + 1 : end + 1]]
        return [(each, False) for each in reversed(self.revisions[end + 1 : start + 1])]


def _read(script: Script) -> Revision:
    module: Any = script.module
    down = script.down_revision
    if down is not None and not isinstance(down, str):
        raise LookupError(f"revision {script.revision} follows more than one")
    return Revision(
        id=script.revision,
        down=down,
        title=script.doc,
        path=Path(script.path),
        upgrade=module.upgrade,
        downgrade=module.downgrade,
        per_tenant=getattr(module, "per_tenant", False),
        autocommit=getattr(module, "autocommit", False),
        code_can_wait=getattr(module, "code_can_wait", False),
        breaks_older_code=getattr(module, "breaks_older_code", False),
        unsafe_reason=getattr(module, "unsafe_reason", None),
    )


TENANT = Tree(MIGRATIONS / "tenant")


def current() -> Tree:
    """The tree that this process migrates tenants by."""
    return TENANT
