"""Many documents at once: each succeeds or fails for itself, and all is one transaction."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from uuid import UUID

from app.core.caller import Caller
from app.core.conditions import ANY
from app.core.errors import AppError
from app.domains.documents import queries
from app.domains.documents.service import documents, trash
from app.domains.documents.service.names import checked_tags
from app.tenancy.sessions import TenantSession

Act = Callable[..., object]

_PURGE: Final = "purge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """``status`` is what the single request would have answered, ``code`` the error's."""

    id: UUID
    status: int
    code: str | None = None


def act_on_all(
    session: TenantSession,
    *,
    caller: Caller,
    action: str,
    document_ids: Sequence[UUID],
    tags: Sequence[str],
    kept_days: int,
) -> Sequence[Outcome]:
    """Does it to each document; the outcomes are in the order of the ids.

    ``action`` is one of delete, restore, purge, tag, untag; ``tags`` are for the last two,
    ``kept_days`` for the first.
    """
    if action == _PURGE:
        queries.lock_files(session)  # before any document, as everybody does
    act, success = _actions(caller, checked_tags(tags), kept_days)[action]
    # In one order, so that no two of these wait for each other.
    outcomes = {
        document_id: _try(session, act, document_id, success)
        for document_id in sorted(document_ids)
    }
    return [outcomes[document_id] for document_id in document_ids]


def _actions(caller: Caller, tags: Sequence[str], kept_days: int) -> Mapping[str, tuple[Act, int]]:
    return {
        "delete": (
            partial(trash.delete_document, caller=caller, if_match=ANY, kept_days=kept_days),
            204,
        ),
        "restore": (partial(trash.restore_document, caller=caller), 200),
        _PURGE: (partial(trash.purge_document, caller=caller), 204),
        "tag": (partial(_retag, caller=caller, more=tags), 200),
        "untag": (partial(_retag, caller=caller, fewer=tags), 200),
    }


def _try(session: TenantSession, act: Act, document_id: UUID, success: int) -> Outcome:
    try:
        with session.begin_nested():
            act(session, document_id=document_id)
    except AppError as error:
        return Outcome(id=document_id, status=error.status, code=error.code)
    return Outcome(id=document_id, status=success)


def _retag(
    session: TenantSession,
    *,
    caller: Caller,
    document_id: UUID,
    more: Sequence[str] = (),
    fewer: Sequence[str] = (),
) -> None:
    document = documents.to_change(session, caller=caller, document_id=document_id)
    changes: dict[str, Any] = {"tags": checked_tags({*document.tags, *more} - {*fewer})}
    documents.apply_changes(session, document, changes)
