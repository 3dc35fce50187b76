"""Who may do what with a document, beyond the role's permissions."""

from app.core.caller import Caller
from app.domains.documents.models import Document


def may_delete(caller: Caller, document: Document) -> bool:
    """One's own with documents:delete, anybody's with documents:manage."""
    if caller.allows("documents:manage"):
        return True
    return caller.allows("documents:delete") and document.owner_id == caller.user_id
