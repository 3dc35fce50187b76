"""Jobs about people's sessions."""

from datetime import timedelta
from typing import Final

from app.core.db import main_session
from app.core.tasks import periodic
from app.domains.identity.service import sessions

_BATCH: Final = 1000


@periodic(name="identity.purge_sessions", every=timedelta(hours=1), queue="default", plane=None)
def purge_sessions() -> None:
    """Deletes sessions that nobody can continue, in short transactions."""
    deleted = _BATCH
    while deleted == _BATCH:
        with main_session() as session:
            deleted = sessions.purge_sessions(session, limit=_BATCH)
