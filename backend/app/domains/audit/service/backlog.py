"""How much waits to be sealed."""

from typing import Final

from sqlalchemy import text

from app.core.db import MainSession
from app.core.readings import AuditFigures

# A narrow SECURITY DEFINER function: sums over all tenants.
_BACKLOG: Final = text("SELECT unsealed_trails, oldest_unsealed_seconds FROM audit_backlog()")


def backlog(session: MainSession) -> AuditFigures:
    return AuditFigures(*session.execute(_BACKLOG).one())
