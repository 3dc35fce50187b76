"""Jobs about people's sessions, and the keys that sign their tokens."""

from datetime import timedelta
from typing import Final

from flask import current_app

from app.core.db import MainSession, main_session
from app.core.tasks import periodic
from app.domains.identity.service import rotation, sessions
from app.domains.identity.service.rotation import Pace

_BATCH: Final = 1000


@periodic(name="identity.purge_sessions", every=timedelta(hours=1), queue="default", plane=None)
def purge_sessions() -> None:
    """Deletes sessions that nobody can continue, in short transactions."""
    deleted = _BATCH
    while deleted == _BATCH:
        with main_session() as session:
            deleted = sessions.purge_sessions(session, limit=_BATCH)


@periodic(name="identity.rotate_keys", every=timedelta(hours=1), queue="default")
def rotate_keys(session: MainSession) -> None:
    """Takes the steps of the signing keys' lives that are due."""
    settings = current_app.extensions["settings"]
    rotation.advance(
        session,
        current_app.extensions["secrets"],
        Pace.of(settings),
        oldest=timedelta(days=settings.signing_key_days),
    )
