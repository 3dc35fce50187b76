"""One document's properties."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from app.core import events
from app.core.caller import Caller
from app.core.conditions import IfMatch
from app.domains.documents import policy, queries
from app.domains.documents.errors import DocumentNotFound, NotYourDocument
from app.domains.documents.events import DocumentUpdated
from app.domains.documents.models import Document
from app.domains.documents.service.names import checked_name, checked_tags
from app.tenancy.sessions import TenantSession

_CHECKS: Final[Mapping[str, Any]] = {
    "name": lambda name: checked_name(name, field="name"),
    "tags": checked_tags,
}


def get_document(session: TenantSession, *, document_id: UUID) -> Document:
    """One that is not in the trash.

    Raises:
        DocumentNotFound: there is none.
    """
    return found(queries.document(session, document_id))


def find_document(session: TenantSession, *, document_id: UUID) -> Document | None:
    return queries.document(session, document_id)


def update_document(
    session: TenantSession,
    *,
    caller: Caller,
    document_id: UUID,
    changes: Mapping[str, Any],
    if_match: IfMatch,
) -> Document:
    """Changes name or tags.

    Raises:
        NotYourDocument: it is another person's, and the caller manages only his or her own.
        PreconditionFailed: it is not at the revision that the caller means.
        BadName, BadTags: these are none.
    """
    document = to_change(session, caller=caller, document_id=document_id)
    if_match.require(document.etag)
    apply_changes(session, document, {name: _CHECKS[name](changes[name]) for name in changes})
    return document


def apply_changes(session: TenantSession, document: Document, changes: Mapping[str, Any]) -> None:
    """Sets what differs; where nothing does, nothing has happened."""
    different = {
        name: [getattr(document, name), value]
        for name, value in changes.items()
        if getattr(document, name) != value
    }
    if not different:
        return
    former = document.name
    for name, (_, value) in different.items():
        setattr(document, name, value)
    session.flush()  # gives the new revision
    events.record(session, DocumentUpdated(document_id=document.id, name=former, changes=different))


def to_change(session: TenantSession, *, caller: Caller, document_id: UUID) -> Document:
    """A document that the caller may change, locked until the transaction ends."""
    document = found(queries.document_for_change(session, document_id))
    if not policy.may_change(caller, document):
        raise NotYourDocument("You may change only documents of your own.")
    return document


def found(document: Document | None) -> Document:
    if document is None:
        raise DocumentNotFound("There is no such document.")
    return document
