"""The catalogue of events for everybody, and dead letters for the platform's administrators."""

from typing import Any, Final
from uuid import UUID

from flask import Blueprint

from app.core.catalogue import catalogue
from app.core.db import MainSession
from app.core.http import SIGNED_IN, endpoint
from app.core.pages import Page, current_cursors
from app.domains.outbox import schemas
from app.domains.outbox.models import Undelivered
from app.domains.outbox.service import letters

blueprint: Final = Blueprint("outbox", __name__)
_LETTERS: Final = "/api/admin/dead-letters"


@blueprint.get("/api/event-types")
@endpoint(allow=SIGNED_IN, transaction=None, returns=schemas.EventTypes, errors=(401,))
def list_event_types() -> dict[str, Any]:
    """Every type of event that others are told of, with the JSON Schema of its data."""
    return {"items": list(catalogue().values())}


@blueprint.get(_LETTERS)
@endpoint(
    allow="dead_letters:manage",
    transaction="main",
    query=schemas.LetterQuery,
    returns=schemas.LetterPage,
    errors=(401, 403, 422),
)
def list_letters(session: MainSession, query: dict[str, Any]) -> Page[Undelivered]:
    """Events that were given up, the oldest first; with state=parked those that are tried again."""
    return letters.list_letters(session, cursors=current_cursors(), **query)


@blueprint.post(f"{_LETTERS}/replay")
@endpoint(
    allow="dead_letters:manage",
    transaction="main",
    body=schemas.Range,
    returns=schemas.Replayed,
    errors=(401, 403, 422),
)
def replay_letters(session: MainSession, body: dict[str, Any]) -> dict[str, int]:
    """Has a range of dead letters tried again, a thousand at most; repeat it for the rest."""
    return {"replayed": letters.replay_range(session, **body)}


@blueprint.post(f"{_LETTERS}/<uuid:letter_id>/replay")
@endpoint(
    allow="dead_letters:manage",
    transaction="main",
    returns=schemas.Letter,
    errors=(401, 403, 404, 409),
)
def replay_letter(session: MainSession, letter_id: UUID) -> Undelivered:
    """Has one tried again at once, with all its attempts before it."""
    letter = letters.replay(session, letter_id=letter_id)
    session.flush()
    session.refresh(letter)  # the database's clock said when
    return letter


@blueprint.delete(f"{_LETTERS}/<uuid:letter_id>")
@endpoint(allow="dead_letters:manage", transaction="main", status=204, errors=(401, 403, 404, 409))
def drop_letter(session: MainSession, letter_id: UUID) -> None:
    """Forgets one for good."""
    letters.drop(session, letter_id=letter_id)
