"""The API's access log under ``make run``: one short line per request, no secrets."""

import re
from typing import Any

from gunicorn.glogging import Logger  # type: ignore[import-untyped]

# A signed address is a password for one document.
_LINK = re.compile(r"(/api/(?:links|incoming)/)[^/?\s]+")
FORMAT = "%(t)s %(m)s %(U)s %(s)s %(M)s ms"


class AccessLog(Logger):  # type: ignore[misc]
    """gunicorn's logger, with links made unusable."""

    def atoms(self, *parts: object) -> dict[str, Any]:
        """The parts of a line."""
        atoms: dict[str, Any] = super().atoms(*parts)
        return {**atoms, "U": _LINK.sub(r"\1…", str(atoms["U"]))}
