"""Who may do what with a document, beyond the role's permissions."""

from app.core.caller import Caller
from app.domains.documents.models import Document


def may_change(caller: Caller, document: Document) -> bool:
    """One's own with documents:update, anybody's with documents:manage."""
    return _may(caller, "documents:update", document)


def may_delete(caller: Caller, document: Document) -> bool:
    """One's own with documents:delete, anybody's with documents:manage. Purging is deleting."""
    return _may(caller, "documents:delete", document)


def manages_all(caller: Caller) -> bool:
    return caller.allows("documents:manage")


def _may(caller: Caller, permission: str, document: Document) -> bool:
    return manages_all(caller) or (
        caller.allows(permission) and document.owner_id == caller.user_id
    )
